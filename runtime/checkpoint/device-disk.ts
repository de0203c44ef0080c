// The disk of a rank: chunks go from files straight into tensors, and checksums are made on threads of the compute core.
import { open } from 'node:fs/promises';
import { FileLanes, Tensor } from '#runtime/tensor/main.ts';
import { fileOf, localDisk } from './disk.ts';
import type { Disk, DiskFile } from './disk.ts';

/** As many as the reader has chunks in work. */
const laneCount = 4;

export function openDeviceDisk(): Disk & Disposable {
  const lanes = new FileLanes(laneCount);
  return {
    ...localDisk,
    open: async (path): Promise<DiskFile> => {
      const handle = await open(path, 'r');
      return {
        ...fileOf(handle, (bytes) => lanes.checksum(bytes)),
        readInto: ({ memory, offset, elements }, position) =>
          memory instanceof Tensor ? lanes.read(handle.fd, position, memory, offset, elements) : undefined,
      };
    },
    checksum: (values) => lanes.checksumOfFinite(values),
    [Symbol.dispose]: () => lanes[Symbol.dispose](),
  };
}
