//! Hashes of tokens and passwords, and checking against them at a bounded cost.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params, PasswordHash};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring_crypto::rand::SecureRandom as _;
use ring_crypto::{hmac, rand};
use settings::Secret;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::access::Access;
use super::error::AccessError;

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// What the hash of a token begins with.
const SHA256: &str = "sha256:";

/// The most memory that checking a password may take, in KiB.
const MAX_MEMORY_KIB: u32 = 256 << 10;

/// Passwords that wait to be checked; more are sent away.
pub(super) const WAITING: usize = 64;

/// After a wrong password none is checked for so many times as long as it took, so that
/// wrong ones keep a tenth of a core busy at most.
const PAUSE: u32 = 9;

/// Bytes of the salt of a password's hash. RFC 9106, section 3.1.
const SALT: usize = 16;

/// A hash that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Argon2 refuses the password, which is longer than 4 GiB.
    #[error("the password cannot be hashed: {0}")]
    Password(argon2::password_hash::Error),
}

/// The hash of a token, for `bearer_hash`.
pub fn hash_token(token: &str) -> String {
    let mut hash = String::from(SHA256);
    for byte in digest(token) {
        // Writing to a string does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

/// A new token of 256 random bits, in 43 characters.
///
/// # Errors
///
/// [`HashError::Random`].
pub fn new_token() -> Result<String, HashError> {
    let mut bits = [0; 32];
    let filled = rand::SystemRandom::new().fill(&mut bits);
    filled.map_err(|_| HashError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bits))
}

/// The hash of a password, for `password_hash`: Argon2id with 19 MiB and two passes, and
/// a random salt.
///
/// # Errors
///
/// [`HashError`].
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let mut salt = [0; SALT];
    let filled = rand::SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| HashError::Random)?;
    let salt = SaltString::encode_b64(&salt).map_err(HashError::Password)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(HashError::Password)?.to_string())
}

pub(super) fn digest(token: &str) -> Digest {
    let digest = ring_crypto::digest::digest(&ring_crypto::digest::SHA256, token.as_bytes());
    // It has 32 bytes.
    digest.as_ref().try_into().unwrap_or_default()
}

/// The digest that the hash of a token has; none where it is not one.
pub(super) fn token_digest(hash: &Secret) -> Option<Digest> {
    let digits = hash.expose().strip_prefix(SHA256)?.as_bytes();
    let mut digest = Digest::default();
    if digits.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}

/// Whether it is the hash of a password that can be checked.
pub(super) fn is_hash(hash: &Secret) -> bool {
    PasswordHash::new(hash.expose()).is_ok_and(|hash| {
        let is_argon2 = argon2::Algorithm::try_from(hash.algorithm).is_ok();
        let memory = Params::try_from(&hash).map(|params| params.m_cost());
        is_argon2 && hash.hash.is_some() && memory.is_ok_and(|kib| kib <= MAX_MEMORY_KIB)
    })
}

/// A password by its hash, and how it is known again at no cost once it was verified.
#[derive(Debug)]
pub(super) struct KnownPassword {
    hash: Secret,
    access: Arc<Access>,
    /// Keyed by the gate, and of use only with its key.
    verified: OnceLock<hmac::Tag>,
}

impl KnownPassword {
    pub(super) fn new(hash: Secret, access: Arc<Access>) -> Self {
        Self {
            hash,
            access,
            verified: OnceLock::new(),
        }
    }

    pub(super) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access)
    }

    /// Takes over that the password was verified, if it still is the same.
    pub(super) fn remember_from(&self, earlier: &Self) {
        if let (true, Some(verified)) = (self.hash == earlier.hash, earlier.verified.get()) {
            let _ = self.verified.set(*verified);
        }
    }

    fn verify(&self, given: &str) -> bool {
        PasswordHash::new(self.hash.expose()).is_ok_and(|hash| {
            let verified = Argon2::default().verify_password(given.as_bytes(), &hash);
            verified.is_ok()
        })
    }
}

/// Checks passwords one at a time.
///
/// A password that was verified once is known by a keyed hash from then on. Wrong ones,
/// which are not, wait for each other.
pub(super) struct Gate {
    key: hmac::Key,
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        // Where the system gives no random numbers, TLS does not start either; a key of
        // zeros would only shorten the work of who reads our memory.
        let _ = rand::SystemRandom::new().fill(&mut key);
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            places: Arc::new(Semaphore::new(WAITING)),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether it is the password.
    ///
    /// Cancelled, a check that has begun still takes its time, and those behind it wait.
    pub(super) async fn admits(
        &self,
        known: &Arc<KnownPassword>,
        given: String,
    ) -> Result<bool, AccessError> {
        if self.has_verified(known, &given) {
            return Ok(true);
        }
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| AccessError::Busy)?;
        let turn = self.turn.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AccessError::Busy)?;
        if self.has_verified(known, &given) {
            return Ok(true);
        }
        let (known, key) = (Arc::clone(known), self.key.clone());
        let checked = spawn_blocking(move || {
            let _held = (place, turn);
            let started = Instant::now();
            let is_right = known.verify(&given);
            if is_right {
                let tag = hmac::sign(&key, given.as_bytes());
                let _ = known.verified.set(tag);
            } else {
                std::thread::sleep(pause(started.elapsed()));
            }
            is_right
        });
        checked.await.map_err(|_| AccessError::Busy)
    }

    /// Takes the turn, so that nothing is checked until it is given back.
    #[cfg(test)]
    pub(super) async fn shut(&self) -> tokio::sync::OwnedSemaphorePermit {
        self.turn.clone().acquire_owned().await.unwrap()
    }

    fn has_verified(&self, known: &KnownPassword, given: &str) -> bool {
        known.verified.get().is_some_and(|tag| {
            // In constant time.
            hmac::verify(&self.key, given.as_bytes(), tag.as_ref()).is_ok()
        })
    }
}

fn pause(took: Duration) -> Duration {
    took.saturating_mul(PAUSE)
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}
