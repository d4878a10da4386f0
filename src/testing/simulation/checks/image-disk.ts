/** A disk image as a disk that answers at once: to see what a start would find on it. */
import type { Disk, DiskFile } from '../../../core/disk.ts';
import type { DiskImage } from '../../disk-image.ts';

export class ImageDisk implements Disk {
  readonly #image: DiskImage;

  constructor(image: DiskImage) {
    this.#image = image;
  }

  async open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile> {
    const file = mode === 'create' ? this.#image.create(path) : this.#image.file(path);
    return {
      path,
      write: async (data, offset) => file.write(data, offset),
      read: async (offset, length) => file.read(offset, length),
      sync: async () => undefined,
      size: async () => file.size,
      close: async () => undefined,
    };
  }
  async list(folder: string): Promise<string[]> {
    return this.#image.list(folder);
  }
  async exists(path: string): Promise<boolean> {
    return this.#image.exists(path);
  }
  async makeFolder(path: string): Promise<void> {
    this.#image.makeFolder(path);
  }
  async rename(from: string, to: string): Promise<void> {
    this.#image.rename(from, to);
  }
  async remove(path: string): Promise<void> {
    this.#image.remove(path);
  }
  async syncFolder(): Promise<void> {
    return undefined;
  }
  async lock(): Promise<() => Promise<void>> {
    return async () => undefined;
  }
}
