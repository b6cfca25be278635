//! Reads style tables: raw 32-bit floats (`.bin` of onnx-community), `.npy`, PyTorch's `.pt`, and archives of `.npy`
//! (kokoro-onnx's `voices-v1.0.bin`). Knows nothing of what the numbers mean.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;

/// The most bytes of one table; Kokoro's have 522,240.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// A name and its numbers.
type Table = (String, Vec<f32>);

/// All tables of a folder, or of an archive.
pub(super) fn read(path: &Path) -> Result<Vec<Table>, String> {
    if !path.is_dir() {
        return archive(path);
    }
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let numbers = match path.extension().and_then(|end| end.to_str()) {
            Some("bin") => bytes(File::open(&path)).and_then(|bytes| floats(&bytes)),
            Some("npy") => bytes(File::open(&path)).and_then(|bytes| npy(&bytes)),
            Some("pt") => torch(&path),
            _ => continue,
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        tables.push((name, numbers.map_err(|reason| format!("{}: {reason}", path.display()))?));
    }
    Ok(tables)
}

/// `numpy.savez`: a zip of NAME.npy.
fn archive(path: &Path) -> Result<Vec<Table>, String> {
    let mut archive = open(path)?;
    let mut tables = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| error.to_string())?;
        if let Some(name) = npy_name(&entry) {
            let numbers = bytes(Ok(entry)).and_then(|bytes| npy(&bytes));
            tables.push((name.clone(), numbers.map_err(|reason| format!("{name}: {reason}"))?));
        }
    }
    Ok(tables)
}

fn npy_name(entry: &ZipFile<'_, impl Read>) -> Option<String> {
    entry.name().ok()?.strip_suffix(".npy").map(str::to_owned)
}

/// `torch.save` of one tensor: a zip, in which `.../data/0` holds its numbers.
fn torch(path: &Path) -> Result<Vec<f32>, String> {
    let mut archive = open(path)?;
    let names = archive.file_names().flatten().map(std::borrow::Cow::into_owned);
    let names: Vec<String> = names.filter(|name| name.contains("/data/")).collect();
    let [name] = names.as_slice() else { return Err(format!("it holds {} tensors, not one", names.len())) };
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    bytes(Ok(entry)).and_then(|bytes| floats(&bytes))
}

fn open(path: &Path) -> Result<ZipArchive<impl Read + Seek>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    ZipArchive::new(std::io::BufReader::new(file))
        .map_err(|error| format!("it is no folder and no archive: {error}"))
}

fn bytes(file: std::io::Result<impl Read>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.and_then(|file| file.take(MAX_TABLE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(len) if len as u64 > MAX_TABLE_BYTES => Err(format!("more than {MAX_TABLE_BYTES} bytes")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// NumPy's format: a magic number, a version, the length of a header that is Python, and the numbers.
fn npy(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let version = bytes.strip_prefix(b"\x93NUMPY").and_then(|rest| rest.first());
    let (begin, len) = match (version, bytes.get(8..12)) {
        (Some(1), Some(&[low, high, ..])) => (10, usize::from(u16::from_le_bytes([low, high]))),
        (Some(2 | 3), Some(len)) => (12, len.try_into().map_or(0, |len| u32::from_le_bytes(len) as usize)),
        _ => return Err("it is no array of NumPy's".into()),
    };
    let header = bytes.get(begin..begin + len).map(String::from_utf8_lossy).unwrap_or_default();
    if !header.contains("'<f4'") || header.contains("'fortran_order': True") {
        return Err(format!("its numbers are not 32-bit floats in rows: {header}"));
    }
    floats(&bytes[begin + len..])
}

fn floats(bytes: &[u8]) -> Result<Vec<f32>, String> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|four| f32::from_le_bytes(*four)).collect();
    match rest.is_empty() && numbers.iter().all(|number| number.is_finite()) {
        true => Ok(numbers),
        false => Err("it does not hold 32-bit floats alone".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NUMBERS: [f32; 3] = [1.0, -2.5, 0.0];

    fn raw() -> Vec<u8> {
        NUMBERS.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn array(kind: &str) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (3,), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).expect("short").to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(raw());
        bytes
    }

    fn zipped(path: &Path, entries: &[(&str, Vec<u8>)]) {
        let mut archive = zip::ZipWriter::new(File::create(path).expect("a file"));
        for (at, (name, bytes)) in entries.iter().enumerate() {
            let method =
                if at == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            archive.start_file(*name, options).expect("an entry");
            archive.write_all(bytes).expect("its bytes");
        }
        archive.finish().expect("an archive");
    }

    #[test]
    fn each_format_gives_the_same_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("af_a.bin"), raw()).expect("written");
        std::fs::write(path("af_b.npy"), array("<f4")).expect("written");
        zipped(&path("af_c.pt"), &[("af_c/data.pkl", Vec::new()), ("af_c/data/0", raw())]);
        std::fs::write(path("README.md"), "not a voice").expect("written");
        let mut tables = read(folder.path()).expect("tables");
        tables.sort_by(|one, other| one.0.cmp(&other.0));
        let expected = ["af_a", "af_b", "af_c"].map(|name| (name.to_owned(), NUMBERS.to_vec()));
        assert_eq!(tables, expected);
        zipped(&path("voices-v1.0.bin"), &[("af_a.npy", array("<f4")), ("af_b.npy", array("<f4"))]);
        assert_eq!(read(&path("voices-v1.0.bin")).expect("tables"), expected[..2]);
    }

    #[test]
    fn what_is_no_table_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("af_a.bin");
        for (bytes, reason) in
            [(vec![1, 2, 3], "32-bit floats alone"), (f32::NAN.to_le_bytes().to_vec(), "alone")]
        {
            std::fs::write(&path, bytes).expect("written");
            let error = read(folder.path()).expect_err("not floats");
            assert!(error.contains("af_a.bin") && error.contains(reason), "{error}");
        }
        assert!(read(&path).expect_err("no archive").contains("no archive"));
        assert!(npy(&array("<f8")).expect_err("doubles").contains("<f8"));
        assert!(npy(b"\x93NUMPY\x01\x00").is_err() && npy(b"").is_err());
        zipped(&path, &[("a/data/0", raw()), ("a/data/1", raw())]);
        assert!(torch(&path).expect_err("two").contains("2 tensors"));
    }
}
