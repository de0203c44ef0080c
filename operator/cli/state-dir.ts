// The state folder of a command line.
export { stateDirOf } from '#operator/local/state-dir.ts';
