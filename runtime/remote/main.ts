// The door of the room: files and folders on http(s) servers, fetched and published, and leases for whoever must be alone with a folder.
export { RemoteClient } from './client.ts';
export { download, syncFolder } from './download.ts';
export type { DownloadOptions } from './download.ts';
export { downloadFiles, remoteFiles, sizesOf } from './folder.ts';
export { leaseTimes, withLease } from './lease.ts';
export type { LeaseTimes } from './lease.ts';
export { hexDigest, TransferMeter } from './meter.ts';
export { isUnpacked, packingOf, unpack, unpackedFiles } from './unpack.ts';
export type { Packing } from './unpack.ts';
export { uploadFolder } from './upload.ts';
export { inFolder, isRemote, remoteUrl, shown } from './url.ts';
