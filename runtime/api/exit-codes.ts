// Exit codes of agent, rank and engine processes. The operator's restart policy reads this table; nothing else decides on restarts.

export const ExitCode = {
  /** Finished its work. */
  done: 0,
  /** The job can't work as written: bad field, missing file, empty data, NaN loss. Restarting would not help. */
  userError: 64,
  /** A fault that may pass: a full disk, a busy port, a file that could not be read for a moment. */
  retryable: 75,
  /** A rank of this pod died or lost its peers. */
  rankLost: 80,
  /** Checksums say that stored bytes changed. The last good checkpoint is used. */
  dataCorrupt: 82,
  /** The compute core failed for good; the process had to end. */
  deviceLost: 86,
  /** Stopped on request after its state was saved. */
  preempted: 90,
  /** Ended because of another pod of the job, which names the cause. */
  follow: 92,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Whether a restart may help. A signal (no code) counts as a lost rank. */
export function isRetryable(code: number | undefined): boolean {
  return code !== ExitCode.done && code !== ExitCode.userError;
}
