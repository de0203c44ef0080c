// Waits for conditions, and asks an API server for what they are about.
import { request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';

/** Far longer than anything here takes on a loaded machine. */
const deadlineMs = 180_000;

/** Asks again until `condition` holds or the deadline has passed. What it throws counts as not yet, and is told in the end. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + deadlineMs;
  let cause: unknown;
  while (Date.now() < deadline) {
    try {
      if (await condition()) return;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    await delay(50);
  }
  throw new Error(`after ${deadlineMs / 1000} s there still was no ${what}`, { cause });
}

/** Status and body of a GET, as the administrator. */
export function get(access: { url: string; ca: string; token: string }, path: string): Promise<{ status: number; body: string }> {
  return new Promise((done, reject) => {
    const options = {
      ca: access.ca,
      headers: { authorization: `Bearer ${access.token}` },
      timeout: 10_000,
      agent: false as const,
    };
    const sent = request(new URL(path, access.url), options, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => (body += text));
      response.once('end', () => done({ status: response.statusCode ?? 0, body }));
      response.once('error', reject);
    });
    sent.once('timeout', () => sent.destroy(new Error(`no answer to GET ${path}`)));
    sent.once('error', reject);
    sent.end();
  });
}
