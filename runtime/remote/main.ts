// The door of the room: files and folders on http(s) servers, fetched and published, and leases for whoever must be alone with a folder.
export { RemoteClient } from './client.ts';
export { download, syncFolder } from './download.ts';
export { downloadFiles, remoteFiles, sizesOf } from './folder.ts';
export { leaseTimes, withLease } from './lease.ts';
export type { LeaseTimes } from './lease.ts';
export { hexDigest, TransferMeter } from './meter.ts';
export { uploadFolder } from './upload.ts';
export { inFolder, isRemote, shown } from './url.ts';
