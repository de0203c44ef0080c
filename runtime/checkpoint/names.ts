// Numbers in the names of files, so that they sort as they count.

export function padded(value: number): string {
  return String(value).padStart(5, '0');
}
