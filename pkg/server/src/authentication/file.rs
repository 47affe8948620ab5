//! The file with credentials, and whether it has changed.

use std::path::PathBuf;
use std::time::Duration;

use settings::{Problem, Problems};

use super::config::{AuthenticationConfig, CredentialConfig, CredentialsDocument, Taken};
use super::password::{Digest, digest};

/// How often the file is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Credentials of the settings with those of a file.
#[derive(Debug)]
pub(super) struct CredentialsFile {
    fixed: Vec<CredentialConfig>,
    file: Option<PathBuf>,
    /// What was read last, or why nothing was, so that nothing is done or said twice.
    seen: Option<Result<Digest, String>>,
}

impl CredentialsFile {
    pub(super) fn new(config: &AuthenticationConfig) -> Self {
        let is_named = !config.file.as_os_str().is_empty();
        Self {
            fixed: config.credentials.clone(),
            file: is_named.then(|| config.file.clone()),
            seen: None,
        }
    }

    pub(super) fn is_named(&self) -> bool {
        self.file.is_some()
    }

    /// All credentials, if they are not as they were read before.
    ///
    /// # Errors
    ///
    /// Every problem of the file, the first time.
    pub(super) fn read(&mut self) -> Result<Option<Vec<CredentialConfig>>, Problems> {
        let Some(file) = &self.file else {
            return Ok(Some(self.fixed.clone()));
        };
        let text = match settings::read_text(file) {
            Ok(text) => text,
            Err(problems) => {
                let told = Err(problems.to_string());
                return self.note(told).map_or(Ok(None), |()| Err(problems));
            }
        };
        let name = file.display().to_string();
        if self.note(Ok(digest(&text))).is_none() {
            return Ok(None);
        }
        let root = settings::read_str(name, text)?;
        let document: CredentialsDocument = settings::decode(&root)?;
        let mut taken = Taken::default();
        taken.validate(&self.fixed, "");
        let mut problems = Problems::new();
        let found = taken.validate(&document.credentials, "credentials");
        problems.add_further(found.into_iter().map(|problem| {
            let place = root.locate(&problem.path).clone();
            problem.at(place)
        }));
        if document.credentials.is_empty() && self.fixed.is_empty() {
            // An empty file is one that is being written: nobody could come in by it.
            problems.add_further([Problem::new("credentials", "may not be empty")]);
        }
        let mut all = self.fixed.clone();
        all.extend(document.credentials);
        problems.or(Some(all))
    }

    /// Notes what was read, if it is news.
    fn note(&mut self, now: Result<Digest, String>) -> Option<()> {
        if self.seen.as_ref() == Some(&now) {
            return None;
        }
        self.seen = Some(now);
        Some(())
    }
}
