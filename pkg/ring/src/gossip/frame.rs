//! What a gossip datagram looks like: which cluster it is of, sealed with the cluster's
//! key, split where it is long, and never taken twice.
//!
//! ```text
//! version u8 | sealed u8 | label u64 | key u32 | session u64 | counter u32 | time u64 | part u8 | parts u8 | body | tag [16]
//! ```
//!
//! Integers are big-endian. `label` is a hash of the cluster's label, `key` tells keys
//! apart without giving them away, `session` is drawn at each start of a sender, and
//! `session` and `counter` together are the nonce. All that stands before the body, and
//! the label itself, is authenticated with it. Without a key the tag is a checksum: it
//! keeps damage out, and nobody who means harm.

use ring_crypto::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring_crypto::digest;
use strum::{EnumCount, EnumIter, IntoStaticStr};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use self::parts::Parts;
use self::window::{Sessions, Window};

mod parts;
mod window;

/// The version of this format.
const VERSION: u8 = 1;
/// Bytes before the body.
const HEADER: usize = 36;
/// Bytes after it.
const TAG: usize = 16;
/// The longest body: a sealed datagram stays below what UDP can carry, 65,507 bytes.
const MAX_BODY: usize = 60_000;
/// The most parts of a message. chitchat's are 65,510 bytes at most, which is two.
const MAX_PARTS: usize = 4;
/// How far the clocks of two nodes may be apart. It bounds how long a datagram that was
/// recorded can be played to a node that has started anew and remembers nothing.
const MAX_SKEW_MS: u64 = 30_000;

/// What a cluster's datagrams are sealed with.
#[derive(Clone, Debug)]
pub struct Seals {
    label: String,
    label_hash: u64,
    keys: Vec<Seal>,
}

/// A key and what tells it from others.
#[derive(Clone, Debug)]
struct Seal {
    id: u32,
    key: LessSafeKey,
}

/// Makes datagrams.
#[derive(Debug)]
pub struct Sealer {
    seals: Seals,
    session: u64,
    counter: u32,
}

/// Reads datagrams; it remembers what it has seen.
#[derive(Debug)]
pub struct Opener {
    seals: Seals,
    sessions: Sessions,
    parts: Parts,
}

/// Why a datagram is not taken.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, EnumCount, EnumIter, IntoStaticStr, thiserror::Error,
)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// It is too short, or of a format that is not known.
    #[error("it is not gossip of this version")]
    UnknownFormat,
    /// It is of a cluster with another label.
    #[error("it is of a cluster with another memberlist.cluster_label")]
    OtherCluster,
    /// It is not sealed, and this node has a key.
    #[error("it is not sealed, and this node has memberlist.secret_keys")]
    NotSealed,
    /// It is sealed with a key that this node does not have.
    #[error("it is sealed with a key that is not among memberlist.secret_keys")]
    UnknownKey,
    /// Its sender's clock is too far from ours, or it was recorded.
    #[error("its time is more than 30 s from ours")]
    Stale,
    /// It was here before, or too many have come after it.
    #[error("it was here before")]
    Replayed,
    /// It was made or altered by someone without the key, or damaged.
    #[error("it is forged or damaged")]
    Forged,
    /// It opens, and is no message.
    #[error("what is in it is no message")]
    Malformed,
}

/// A message that is too long to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gossip message of {length} bytes is longer than {} bytes", MAX_BODY * MAX_PARTS)]
pub struct MessageTooLong {
    /// Its length in bytes.
    pub length: usize,
}

/// What stands before the body.
#[derive(Clone, Copy, Debug)]
struct Header {
    is_sealed: bool,
    label_hash: u64,
    key: u32,
    session: u64,
    counter: u32,
    time_ms: u64,
    part: u8,
    parts: u8,
}

impl Seals {
    /// Seals of a cluster with this label; the first of the keys seals, all open. Without
    /// keys nothing is sealed.
    pub fn new(label: &str, keys: &[[u8; 32]]) -> Self {
        Self {
            label: label.to_owned(),
            label_hash: xxh3_64(label.as_bytes()),
            keys: keys.iter().filter_map(Seal::new).collect(),
        }
    }

    fn find(&self, id: u32) -> Option<&Seal> {
        self.keys.iter().find(|seal| seal.id == id)
    }

    /// What is authenticated with the body.
    fn context(&self, header: &[u8]) -> Vec<u8> {
        [header, self.label.as_bytes()].concat()
    }

    fn checksum(&self, header: &[u8], body: &[u8]) -> [u8; TAG] {
        xxh3_128(&[header, self.label.as_bytes(), body].concat()).to_be_bytes()
    }
}

impl Seal {
    /// None never comes: the length is right.
    fn new(bytes: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, bytes).ok()?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"spanmill gossip key");
        context.update(bytes);
        let id = context.finish().as_ref().first_chunk().copied()?;
        Some(Self {
            id: u32::from_be_bytes(id),
            key: LessSafeKey::new(key),
        })
    }
}

impl Sealer {
    /// Makes datagrams of a sender that has drawn `session` at random.
    pub fn new(seals: Seals, session: u64) -> Self {
        Self {
            seals,
            session,
            counter: 0,
        }
    }

    /// The datagrams that carry a message, in order. `now_ms` is the wall clock's time
    /// since the Unix epoch.
    ///
    /// # Errors
    ///
    /// Where it is longer than four datagrams.
    pub fn seal(&mut self, message: &[u8], now_ms: u64) -> Result<Vec<Vec<u8>>, MessageTooLong> {
        let parts = message.len().div_ceil(MAX_BODY).max(1);
        let too_long = MessageTooLong {
            length: message.len(),
        };
        let count = u8::try_from(parts).map_err(|_| too_long)?;
        if parts > MAX_PARTS {
            return Err(too_long);
        }
        if self.counter > u32::MAX - MAX_PARTS as u32 {
            // A nonce is used once; the next session is as unlikely to be someone
            // else's as this one was.
            self.session = self.session.wrapping_add(1);
            self.counter = 0;
        }
        let empty: &[u8] = &[];
        let bodies = message.chunks(MAX_BODY);
        let bodies = bodies.chain(message.is_empty().then_some(empty));
        Ok((0..count)
            .zip(bodies)
            .map(|(part, body)| self.datagram(body, now_ms, part, count))
            .collect())
    }

    fn datagram(&mut self, body: &[u8], time_ms: u64, part: u8, parts: u8) -> Vec<u8> {
        let seal = self.seals.keys.first();
        let header = Header {
            is_sealed: seal.is_some(),
            label_hash: self.seals.label_hash,
            key: seal.map_or(0, |seal| seal.id),
            session: self.session,
            counter: self.counter,
            time_ms,
            part,
            parts,
        };
        self.counter += 1;
        let head = header.to_bytes();
        let mut sealed = body.to_vec();
        let tag = match seal {
            Some(Seal { key, .. }) => {
                let context = Aad::from(self.seals.context(&head));
                let tag = key.seal_in_place_separate_tag(header.nonce(), context, &mut sealed);
                // It fails for bodies of gigabytes alone, and then nothing may be shown.
                tag.map_or_else(
                    |_| {
                        sealed.clear();
                        Vec::new()
                    },
                    |tag| tag.as_ref().to_vec(),
                )
            }
            None => self.seals.checksum(&head, body).to_vec(),
        };
        [&head[..], &sealed, &tag].concat()
    }
}

impl Opener {
    /// Reads datagrams that these seals open.
    pub fn new(seals: Seals) -> Self {
        Self {
            seals,
            sessions: Sessions::default(),
            parts: Parts::default(),
        }
    }

    /// The message that a datagram completes; none if parts of it are still missing.
    ///
    /// What is cheap is checked first, so that a flood costs little.
    ///
    /// # Errors
    ///
    /// [`Refusal`], where it is not to be taken.
    pub fn open(&mut self, datagram: &[u8], now_ms: u64) -> Result<Option<Vec<u8>>, Refusal> {
        let (head, rest) = datagram
            .split_first_chunk::<HEADER>()
            .ok_or(Refusal::UnknownFormat)?;
        let header = Header::read(head).ok_or(Refusal::UnknownFormat)?;
        let (body, tag) = rest
            .split_last_chunk::<TAG>()
            .ok_or(Refusal::UnknownFormat)?;
        if header.label_hash != self.seals.label_hash {
            return Err(Refusal::OtherCluster);
        }
        let opened = match (header.is_sealed, self.seals.keys.is_empty()) {
            (false, false) => return Err(Refusal::NotSealed),
            (true, true) => return Err(Refusal::UnknownKey),
            (false, true) => {
                let window = self.sessions.window(header.session);
                self.check_tag(head, body, tag)?;
                check_window(window, header.counter)?;
                body.to_vec()
            }
            (true, false) => {
                let seal = self.seals.find(header.key).ok_or(Refusal::UnknownKey)?;
                if header.time_ms.abs_diff(now_ms) > MAX_SKEW_MS {
                    return Err(Refusal::Stale);
                }
                check_window(self.sessions.window(header.session), header.counter)?;
                let context = Aad::from(self.seals.context(head));
                let mut sealed = rest.to_vec();
                let opened = seal
                    .key
                    .open_in_place(header.nonce(), context, &mut sealed)
                    .map_err(|_| Refusal::Forged)?;
                opened.to_vec()
            }
        };
        self.sessions.take(header.session, header.counter, now_ms);
        Ok(self.parts.add(&header, opened))
    }

    fn check_tag(&self, head: &[u8], body: &[u8], tag: &[u8; TAG]) -> Result<(), Refusal> {
        match self.seals.checksum(head, body) == *tag {
            true => Ok(()),
            false => Err(Refusal::Forged),
        }
    }
}

fn check_window(window: Window, counter: u32) -> Result<(), Refusal> {
    match window.is_new(counter) {
        true => Ok(()),
        false => Err(Refusal::Replayed),
    }
}

impl Header {
    /// A header that can be one: of this version, with sensible parts.
    fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let [version, sealed, rest @ ..] = bytes;
        let (label_hash, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (session, rest) = rest.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (time_ms, rest) = rest.split_first_chunk()?;
        let [part, parts] = *rest else {
            return None;
        };
        let counter = u32::from_be_bytes(*counter);
        let is_sensible = *version == VERSION
            && *sealed <= 1
            && part < parts
            && usize::from(parts) <= MAX_PARTS
            && counter >= u32::from(part);
        is_sensible.then_some(Self {
            is_sealed: *sealed == 1,
            label_hash: u64::from_be_bytes(*label_hash),
            key: u32::from_be_bytes(*key),
            session: u64::from_be_bytes(*session),
            counter,
            time_ms: u64::from_be_bytes(*time_ms),
            part,
            parts,
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend([VERSION, u8::from(self.is_sealed)]);
        bytes.extend(self.label_hash.to_be_bytes());
        bytes.extend(self.key.to_be_bytes());
        bytes.extend(self.session.to_be_bytes());
        bytes.extend(self.counter.to_be_bytes());
        bytes.extend(self.time_ms.to_be_bytes());
        bytes.extend([self.part, self.parts]);
        bytes
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        let (session, counter) = nonce.split_at_mut(8);
        session.copy_from_slice(&self.session.to_be_bytes());
        counter.copy_from_slice(&self.counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests;
