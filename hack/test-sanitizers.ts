// npm run test:sanitizers: the native tests under address, undefined-behaviour and thread sanitizers.
import { close, runSanitizers } from './runners.ts';

close(await runSanitizers());
