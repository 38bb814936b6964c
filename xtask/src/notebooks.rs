//! Notebooks run from small committed results, in a virtual environment that this command makes.

use crate::root;
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Makes `.venv` when `notebooks/requirements.txt` is newer than the last complete installation, then executes each
/// notebook. With `write`, the executed outputs replace the stored ones.
pub(crate) fn execute(write: bool) -> Result<()> {
    let root = root()?;
    let python = environment(&root)?;
    let mut notebooks: Vec<PathBuf> = std::fs::read_dir(root.join("notebooks"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"))
        .collect();
    notebooks.sort();
    if notebooks.is_empty() {
        bail!("no notebook in {}", root.join("notebooks").display());
    }
    for notebook in &notebooks {
        println!("== {}", notebook.strip_prefix(&root).unwrap_or(notebook).display());
        let mut command = Command::new(&python);
        command.arg(root.join("notebooks/run.py")).arg(notebook).current_dir(root.join("notebooks"));
        if write {
            command.arg("--write");
        }
        run(&mut command)?;
    }
    println!("notebooks: {} passed, 0 failed", notebooks.len());
    Ok(())
}

/// The interpreter of the environment, made and filled if it is missing or out of date.
fn environment(root: &Path) -> Result<PathBuf> {
    let folder = root.join(".venv");
    let python = folder.join("bin/python");
    let requirements = root.join("notebooks/requirements.txt");
    let installed = folder.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).with_context(|| requirements.display().to_string())?;
    if std::fs::read_to_string(&installed).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("a Python 3.11 or later with the venv module is needed for the notebooks")?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(&requirements))?;
    std::fs::write(&installed, wanted)?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
