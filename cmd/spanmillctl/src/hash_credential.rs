//! `hash-credential`: what stands for a token or a password in the configuration.

use std::io::{IsTerminal as _, Read as _, Write as _};

use anyhow::{Context as _, ensure};
use server::authentication::{hash_password, hash_token, new_token};

/// Makes the hash of a password, or of a token, that is read from the standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// It is a bearer token, for `bearer_hash`; else a password, for `password_hash`
    #[arg(long, conflicts_with = "generate")]
    token: bool,

    /// Make a new bearer token and show it with its hash; nothing is read
    #[arg(long)]
    generate: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<String> {
    if args.generate {
        let token = new_token()?;
        return Ok(format!(
            "token: {token}\nbearer_hash: {}\n",
            hash_token(&token)
        ));
    }
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        // Nobody reads it but who types.
        let _ = writeln!(std::io::stderr(), "type it, then Enter and Ctrl-D:");
    }
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .context("cannot read the standard input")?;
    hash(args, &text)
}

fn hash(args: &Args, text: &str) -> anyhow::Result<String> {
    // That of the last line, which is none of it.
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    ensure!(!secret.is_empty(), "the standard input is empty");
    ensure!(
        !secret.contains('\n'),
        "the standard input has more than one line"
    );
    let hash = if args.token {
        hash_token(secret)
    } else {
        hash_password(secret)?
    };
    Ok(hash + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_hashed_without_its_end() {
        let token = Args {
            token: true,
            generate: false,
        };
        let want = format!("{}\n", hash_token("s3cret"));
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(hash(&token, text).unwrap(), want);
        }
        for text in ["", "\n", "two\nlines\n"] {
            assert!(hash(&token, text).is_err(), "{text:?}");
        }
        let password = Args {
            token: false,
            generate: false,
        };
        assert!(hash(&password, "x").unwrap().starts_with("$argon2id$"));
    }

    #[test]
    fn generated_token_comes_with_its_hash() {
        let args = Args {
            token: false,
            generate: true,
        };
        let text = run(&args).unwrap();
        let token = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("token: ")
            .unwrap();
        assert_eq!(token.len(), 43);
        assert!(text.contains(&format!("bearer_hash: {}\n", hash_token(token))));
    }
}
