//! Writing initramfs archives: the "new ASCII" cpio format (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! An initramfs may be several archives one after another, so the large ones are made once and a small one is added per
//! run. They are not compressed: under emulation the guest unpacks plain data several times faster.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// Each archive starts and ends on this boundary, so that they can be joined by simply appending.
const ALIGN: u64 = 4;

/// An archive being written. Owners are root and times are zero, so that equal content gives equal bytes.
#[derive(Debug)]
pub struct Archive<W: Write> {
    out: W,
    written: u64,
    inode: u32,
    known: BTreeSet<Vec<u8>>,
}

struct Entry<'a> {
    name: &'a [u8],
    mode: u32,
    size: u32,
    /// Major and minor number of a device node.
    device: (u32, u32),
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, written: 0, inode: 0, known: BTreeSet::new() }
    }

    /// A directory, and those above it that have not been written yet.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.parents(path.as_bytes())?;
        self.directory_entry(path.as_bytes(), mode)
    }

    /// A file of `data`.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        let size = u32::try_from(data.len()).map_err(|_| too_large(path))?;
        self.parents(path.as_bytes())?;
        self.header(&Entry { name: path.as_bytes(), mode: S_IFREG | (mode & 0o7777), size, device: (0, 0) })?;
        self.bytes(data)?;
        self.pad()
    }

    /// A file whose content is copied from the host.
    pub fn file_from(&mut self, path: &str, mode: u32, source: &Path) -> io::Result<()> {
        self.copy_file(path.as_bytes(), mode, source)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.link_entry(path.as_bytes(), target.as_bytes())
    }

    /// A character device.
    pub fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        self.parents(path.as_bytes())?;
        let mode = S_IFCHR | (mode & 0o7777);
        self.header(&Entry { name: path.as_bytes(), mode, size: 0, device: (major, minor) })
    }

    /// Everything below `root` for which `wanted` (given the path below `root`) says yes; a directory that is refused
    /// hides what is below it. Devices, sockets and fifos are left out.
    pub fn tree(&mut self, root: &Path, wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        self.below(root, Path::new(""), wanted)
    }

    fn below(&mut self, root: &Path, path: &Path, wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        // Sorted, so that the archive does not depend on the file system's order.
        let mut entries = fs::read_dir(root.join(path))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = path.join(entry.file_name());
            if !wanted(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            let name = path.as_os_str().as_bytes();
            if kind.is_symlink() {
                let target = fs::read_link(entry.path())?;
                self.link_entry(name, target.as_os_str().as_bytes())?;
            } else if kind.is_dir() {
                self.parents(name)?;
                self.directory_entry(name, entry.metadata()?.permissions().mode())?;
                self.below(root, &path, wanted)?;
            } else if kind.is_file() {
                self.copy_file(name, entry.metadata()?.mode(), &entry.path())?;
            }
        }
        Ok(())
    }

    /// Ends the archive and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header(&Entry { name: b"TRAILER!!!", mode: 0, size: 0, device: (0, 0) })?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn copy_file(&mut self, name: &[u8], mode: u32, source: &Path) -> io::Result<()> {
        let mut file = File::open(source)?;
        let length = file.metadata()?.len();
        let size = u32::try_from(length).map_err(|_| too_large(&source.to_string_lossy()))?;
        self.parents(name)?;
        self.header(&Entry { name, mode: S_IFREG | (mode & 0o7777), size, device: (0, 0) })?;
        let copied = io::copy(&mut io::Read::take(&mut file, length), &mut self.out)?;
        self.written += copied;
        if copied != length {
            return Err(io::Error::other(format!("{} shrank while it was read", source.display())));
        }
        self.pad()
    }

    fn link_entry(&mut self, name: &[u8], target: &[u8]) -> io::Result<()> {
        let size = u32::try_from(target.len()).map_err(|_| too_large("a link"))?;
        self.parents(name)?;
        self.header(&Entry { name, mode: S_IFLNK | 0o777, size, device: (0, 0) })?;
        self.bytes(target)?;
        self.pad()
    }

    fn directory_entry(&mut self, name: &[u8], mode: u32) -> io::Result<()> {
        if !self.known.insert(name.to_owned()) {
            return Ok(());
        }
        self.header(&Entry { name, mode: S_IFDIR | (mode & 0o7777), size: 0, device: (0, 0) })
    }

    fn parents(&mut self, name: &[u8]) -> io::Result<()> {
        let slashes: Vec<usize> =
            name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).collect();
        for at in slashes {
            self.directory_entry(&name[..at], 0o755)?;
        }
        Ok(())
    }

    fn header(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if entry.name.is_empty() || entry.name[0] == b'/' || entry.name.contains(&0) {
            return Err(io::Error::other("a name in an archive is relative and without NUL"));
        }
        self.inode += 1;
        let links = if entry.mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
        let name_size = u32::try_from(entry.name.len() + 1).map_err(|_| too_large("a name"))?;
        let (major, minor) = entry.device;
        let fields =
            [self.inode, entry.mode, 0, 0, links, 0, entry.size, 0, 0, major, minor, name_size, /* checksum */ 0];
        self.bytes(b"070701")?;
        for field in fields {
            self.bytes(format!("{field:08X}").as_bytes())?;
        }
        self.bytes(entry.name)?;
        self.bytes(&[0])?;
        self.pad()
    }

    fn bytes(&mut self, data: &[u8]) -> io::Result<()> {
        self.out.write_all(data)?;
        self.written += data.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> io::Result<()> {
        let short = self.written.next_multiple_of(ALIGN) - self.written;
        self.bytes(&[0; ALIGN as usize][..short as usize])
    }
}

fn too_large(what: &str) -> io::Error {
    io::Error::other(format!("{what} is too large for an initramfs (4 GiB)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Reads with someone else's reader: name, mode, content.
    fn read_back(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(bytes).unwrap();
            if reader.entry().is_trailer() {
                return all;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut data = Vec::new();
            reader.read_to_end(&mut data).unwrap();
            all.push((name, mode, data));
            bytes = reader.finish().unwrap();
        }
    }

    #[test]
    fn another_reader_finds_what_was_written() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a/b/file", 0o755, b"hello").unwrap();
        archive.symlink("a/link", "b/file").unwrap();
        archive.char_device("dev/console", 0o600, 5, 1).unwrap();
        archive.directory("a/b/empty", 0o700).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0, "archives can be appended to each other");
        let entries = read_back(&bytes);
        let seen: Vec<(&str, u32, &[u8])> =
            entries.iter().map(|(name, mode, data)| (name.as_str(), *mode, data.as_slice())).collect();
        let expected: Vec<(&str, u32, &[u8])> = vec![
            ("a", 0o040_755, b""),
            ("a/b", 0o040_755, b""),
            ("a/b/file", 0o100_755, b"hello"),
            ("a/link", 0o120_777, b"b/file"),
            ("dev", 0o040_755, b""),
            ("dev/console", 0o020_600, b""),
            ("a/b/empty", 0o040_700, b""),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_tree_is_copied_without_what_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("usr/share/doc/x")).unwrap();
        fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        fs::write(dir.path().join("usr/share/doc/x/text"), "no").unwrap();
        fs::write(dir.path().join("usr/bin/tool"), "yes").unwrap();
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).unwrap();
        let mut archive = Archive::new(Vec::new());
        archive.tree(dir.path(), &|path| path != Path::new("usr/share/doc")).unwrap();
        let names: Vec<String> = read_back(&archive.finish().unwrap()).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["bin", "usr", "usr/bin", "usr/bin/tool", "usr/share"]);
    }

    proptest::proptest! {
        #[test]
        fn any_content_survives(files in proptest::collection::btree_map("[a-z]{1,12}", proptest::collection::vec(0u8.., 0..300), 0..8)) {
            let mut archive = Archive::new(Vec::new());
            for (name, data) in &files {
                archive.file(name, 0o644, data).unwrap();
            }
            let read: Vec<(String, Vec<u8>)> =
                read_back(&archive.finish().unwrap()).into_iter().map(|(name, _, data)| (name, data)).collect();
            let expected: Vec<(String, Vec<u8>)> = files.into_iter().collect();
            proptest::prop_assert_eq!(read, expected);
        }
    }

    #[test]
    fn absolute_names_are_refused() {
        assert!(Archive::new(Vec::new()).file("/etc/passwd", 0o644, b"").is_err());
    }
}
