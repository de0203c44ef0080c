// npm test: all vitest projects, then the native tests; the last line adds them up.
import { close, runCtest, runVitest } from './runners.ts';

close([await runVitest(process.argv.slice(2)), await runCtest('build/native')]);
