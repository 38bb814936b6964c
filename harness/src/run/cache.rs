//! What is remembered between runs: one small file for each kind and key, in the user's cache folder. The file's name is a hash of the key,
//! and the key stands in it too, so that no other key's value is ever taken for it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize)]
struct Remembered<K, V> {
    key: K,
    #[serde(flatten)]
    value: V,
}

/// The folder: `$XDG_CACHE_HOME/highwater` or `~/.cache/highwater`; `None` without a home.
#[must_use]
pub fn dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    Some(given.or_else(home)?.join("highwater"))
}

/// Where the value of a key lies.
pub(super) fn path<K: Serialize>(dir: &Path, kind: &str, key: &K) -> PathBuf {
    let text = serde_json::to_vec(key).expect("strings and numbers have a JSON form");
    let name: String = Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    dir.join(format!("{kind}-{name}.json"))
}

/// The value remembered for a key; `None` if there is none, or its file is for another key or of another form.
#[must_use]
pub fn recall<K, V>(dir: &Path, kind: &str, key: &K) -> Option<V>
where
    K: Serialize + DeserializeOwned + PartialEq,
    V: DeserializeOwned,
{
    let text = std::fs::read_to_string(path(dir, kind, key)).ok()?;
    let remembered: Remembered<K, V> = serde_json::from_str(&text).ok()?;
    (remembered.key == *key).then_some(remembered.value)
}

/// Remembers a value, an object in JSON, whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn remember<K: Serialize, V: Serialize>(dir: &Path, kind: &str, key: &K, value: &V) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let file = path(dir, kind, key);
    let neighbour = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&neighbour, serde_json::to_vec_pretty(&Remembered { key, value })?)?;
    std::fs::rename(neighbour, file)
}
