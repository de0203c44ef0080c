// Starts an API server, says which, and waits to be killed.
import { startApiServer } from '../../hack/test-cluster/cluster.ts';

const { access } = await startApiServer();
process.stdout.write(`${JSON.stringify(access)}\n`);
process.stdin.resume();
