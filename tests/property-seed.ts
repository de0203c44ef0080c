// Properties draw the same cases in every run, so that a change fails by what it changes and by nothing else. Another number in
// WL_SEED draws others: look for new ones with it when a property or its subject is written.
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['WL_SEED'] ?? 2026) });
