import { constants } from 'node:fs'
import { type FileHandle, lstat, open } from 'node:fs/promises'

/** It is there, and it is no file of ours: a link that leads elsewhere, a pipe that nobody fills, a device. */
export class NoRegularFile extends Error {}

/**
 * Opens for reading what this program wrote itself: never through a link, and never waiting for who fills a pipe.
 * @throws NoRegularFile; else what the system says.
 */
export async function openRegular(path: string): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(error => {
    const { code } = error as NodeJS.ErrnoException
    throw code === 'ELOOP' || code === 'ENXIO' ? new NoRegularFile(`${path} is no regular file`) : error
  })
  if ((await file.stat()).isFile()) return file
  await file.close()
  throw new NoRegularFile(`${path} is no regular file`)
}

/** Whether this is a folder itself, and no link to one. */
export async function isFolder(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.isDirectory() ?? false
}
