//! Several hosts on one machine: network namespaces on a switch, which nobody else
//! sees, and which are gone with the test.

use std::env;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::binaries::libraries;

/// Set in the process that has a network of its own.
const INSIDE: &str = "SPANMILL_PRIVATE_NETWORK";
/// Our own address on the switch. The range is for benchmarks (RFC 2544), and routed nowhere.
const HUB: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// A switch that all hosts are plugged into, and this process as well.
#[derive(Debug)]
pub struct Network {
    hosts: u8,
    /// Rules on the switch, by name: nft's, each a line of the forward chain.
    rules: Vec<(String, String)>,
}

/// A host: a network namespace with one address.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    address: Ipv4Addr,
}

impl Network {
    /// Runs a test in a network of its own: starts the test of that name again, in new
    /// namespaces, where it runs `body`. They end with its process, however it ends.
    ///
    /// # Errors
    ///
    /// Those of `body`; or the system lets no one make namespaces.
    pub fn run<F>(test: &str, body: impl FnOnce(Self) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if env::var_os(INSIDE).is_none() {
            // -r: as root of a user namespace, so that it needs no rights.
            let status = Command::new("unshare")
                .args(["-rnm", "--fork", "--kill-child"])
                .arg(env::current_exe()?)
                .args(["--exact", test, "--nocapture"])
                .env(INSIDE, "1")
                .status()
                .context("cannot start unshare, of util-linux")?;
            ensure!(status.success(), "{test} in its own network: {status}");
            return Ok(());
        }
        let network = Self::new()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(body(network))
    }

    fn new() -> anyhow::Result<Self> {
        // Where `ip netns` keeps names; ours are ours alone.
        run("mount", &["-t", "tmpfs", "none", "/run"], None)?;
        ip("link set lo up")?;
        ip("link add hub type bridge")?;
        ip(&format!("addr add {HUB}/24 dev hub"))?;
        ip("link set hub up")?;
        Ok(Self {
            hosts: 0,
            rules: Vec::new(),
        })
    }

    /// The address of this process, as hosts see it.
    #[must_use]
    pub fn own_address(&self) -> Ipv4Addr {
        HUB
    }

    /// Plugs a new host in.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn add_host(&mut self, name: &str) -> anyhow::Result<Host> {
        self.hosts += 1;
        let [a, b, c, _] = HUB.octets();
        let host = Host {
            name: name.to_owned(),
            address: Ipv4Addr::new(a, b, c, 10 + self.hosts),
        };
        let plug = &host.plug();
        ip(&format!("netns add {name}"))?;
        ip(&format!(
            "link add {plug} type veth peer name eth0 netns {name}"
        ))?;
        ip(&format!("link set {plug} master hub up"))?;
        ip(&format!("-n {name} addr add {}/24 dev eth0", host.address))?;
        ip(&format!("-n {name} link set eth0 up"))?;
        ip(&format!("-n {name} link set lo up"))?;
        Ok(host)
    }

    /// Drops what matches on its way over the switch, until [`mend`](Self::mend):
    /// `what` is nft's, such as `ip saddr 198.18.0.11 udp dport 7946`.
    ///
    /// # Errors
    ///
    /// When nft refuses the rule.
    pub fn drop(&mut self, name: &str, what: &str) -> anyhow::Result<()> {
        self.rules.push((name.to_owned(), format!("{what} drop")));
        self.apply()
    }

    /// Lets through again what [`drop`](Self::drop) with this name drops.
    ///
    /// # Errors
    ///
    /// When nft refuses the rules.
    pub fn mend(&mut self, name: &str) -> anyhow::Result<()> {
        self.rules.retain(|(of, _)| of != name);
        self.apply()
    }

    fn apply(&self) -> anyhow::Result<()> {
        let lines: Vec<_> = self.rules.iter().map(|(_, line)| line.as_str()).collect();
        let lines = lines.join("\n");
        // Between hosts, and from and to this process.
        let chains: String = ["forward", "input", "output"]
            .iter()
            .map(|hook| {
                format!(
                    "chain {hook} {{ type filter hook {hook} priority 0; policy accept;\n{lines}\n}}\n"
                )
            })
            .collect();
        let rules = format!(
            "table bridge faults {{}}\ndelete table bridge faults\n\
             table bridge faults {{\n{chains}}}\n"
        );
        run(&nft(), &["-f", "-"], Some(&rules))
    }
}

impl Host {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the switch.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Unplugs it: it reaches nobody, and nobody reaches it.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn unplug(&self) -> anyhow::Result<()> {
        ip(&format!("link set {} down", self.plug()))
    }

    /// Plugs it in again.
    ///
    /// # Errors
    ///
    /// When the system does not let us.
    pub fn plug_in(&self) -> anyhow::Result<()> {
        ip(&format!("link set {} up", self.plug()))
    }

    /// Refuses connections to a TCP port, and resets those that there are.
    ///
    /// # Errors
    ///
    /// When nft refuses the rule.
    pub fn refuse(&self, port: u16) -> anyhow::Result<()> {
        self.rules(&format!("tcp dport {port} reject with tcp reset"))
    }

    /// Refuses connections from itself to one of its own TCP ports.
    ///
    /// # Errors
    ///
    /// When nft refuses the rule.
    pub fn refuse_itself(&self, port: u16) -> anyhow::Result<()> {
        self.rules(&format!("iif lo tcp dport {port} reject with tcp reset"))
    }

    /// Accepts all connections again.
    ///
    /// # Errors
    ///
    /// When nft refuses the rule.
    pub fn accept(&self) -> anyhow::Result<()> {
        self.rules("")
    }

    fn rules(&self, input: &str) -> anyhow::Result<()> {
        let rules = format!(
            "table inet faults {{}}\ndelete table inet faults\n\
             table inet faults {{\nchain input {{ type filter hook input priority 0; policy accept;\n\
             {input}\n}}\n}}\n"
        );
        let net = format!("--net=/run/netns/{}", self.name);
        run("nsenter", &[&net, &nft(), "-f", "-"], Some(&rules))
    }

    /// A program and the arguments that run `program` on this host.
    pub(crate) fn runs(
        &self,
        program: &Path,
        arguments: &[String],
    ) -> (&'static Path, Vec<String>) {
        let mut all = vec![
            format!("--net=/run/netns/{}", self.name),
            program.display().to_string(),
        ];
        all.extend_from_slice(arguments);
        (Path::new("nsenter"), all)
    }

    fn plug(&self) -> String {
        format!("to-{}", self.name)
    }
}

/// Debian's nft, where it lies.
fn nft() -> String {
    env::var("SPANMILL_NFT").unwrap_or_else(|_| "nft".to_owned())
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>(), None)
}

fn run(program: &str, arguments: &[&str], input: Option<&str>) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    if let Some(nft) = env::var_os("SPANMILL_NFT") {
        // Unpacked, and not installed, it has its libraries beside it.
        command.env("LD_LIBRARY_PATH", libraries(Path::new(&nft)));
    }
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.unwrap_or_default().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
