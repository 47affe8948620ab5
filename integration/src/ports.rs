//! Ports that no other test takes.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// Below the range that systems give to outgoing connections.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free TCP port on 127.0.0.1.
///
/// It is nobody else's until this value is dropped: tests run in processes of
/// their own, so a locked file for each port keeps them apart.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port.
    ///
    /// # Errors
    ///
    /// When lock files cannot be made, or every port is taken.
    pub fn reserve() -> anyhow::Result<Self> {
        let locks = std::env::temp_dir().join("spanmill-test-ports");
        std::fs::create_dir_all(&locks).context("cannot make the directory for port locks")?;
        // Processes start at places of their own, so that they seldom meet.
        let start = std::process::id().wrapping_mul(31) % u32::from(COUNT);
        for step in 0..u32::from(COUNT) {
            let offset = (start + step) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset)?;
            let lock = File::create(locks.join(number.to_string()))?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, number));
            if lock.try_lock().is_ok() && TcpListener::bind(address).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no free port from {FIRST} on")
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<number>`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
