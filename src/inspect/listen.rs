//! `hookwheel listen`: a local HTTPS receiver that prints what comes, and whether it verifies.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::HeaderMap;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::contract::{Contract, Verdict, event_key};
use super::keep::{self, Kept};
use super::register::{self, Registration};
use super::show::{Printer, Seen};
use super::{Usage, profile, secret};
use crate::cli::inspect::ListenOptions;
use crate::model::Clock;
use crate::receiver::{Answer, Options, ReceivedRequest, Receiver};
use crate::verify::VerifyError;

/// What is listened to: this machine only, as the certificate and the commands around it are for tests.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The profile of who names none: Standard Webhooks, the one that is no product's own.
const PROFILE_DEFAULT: &str = "standard";
/// Where a listener is unless another port is asked for.
const PORT_DEFAULT: u16 = 9443;

/// Receives until Ctrl-C, SIGTERM, or the number of requests that was asked for. The exit code is 64 where the
/// arguments cannot be used, and 1 where `once` was asked for and a request did not verify.
///
/// # Errors
/// Where the CA, the port, the daemon's API or standard output cannot be used.
pub async fn listen(options: ListenOptions) -> anyhow::Result<ExitCode> {
    let directory = match &options.dir {
        Some(directory) => directory.clone(),
        None => keep::default_directory()?,
    };
    // Before the config is read, which may name the CA's file.
    let kept = keep::open(&directory, Clock::system().wall())?;
    if !options.register {
        let contract = match contract(&options)? {
            Ok(contract) => contract,
            Err(usage) => return Ok(usage.tell("listen", options.json)),
        };
        let (listener, ends) = (bind(&options).await?, Ends::heeded()?);
        return receive(&options, contract, listener, &kept, ends, None).await;
    }
    let listener = bind(&options).await?;
    // From here on an end is not missed: what is registered is removed.
    let ends = Ends::heeded()?;
    let address = listener.local_addr()?;
    let registration = match Registration::make(&options, address, &kept.certificate).await? {
        Ok(registration) => registration,
        Err(usage) => return Ok(usage.tell("listen", options.json)),
    };
    let config = register::config(&options);
    // Whatever ends it, the webhook is removed: nothing in here leaves this function.
    let work = async {
        let profile = match profile(&registration.profile, config.as_deref()) {
            Ok(profile) => profile,
            Err(usage) => return Ok(usage.tell("listen", options.json)),
        };
        let contract = Contract::new(profile, registration.secret.clone())?;
        let registered = Some(&registration);
        receive(&options, contract, listener, &kept, ends, registered).await
    };
    let ended = work.await;
    let removed = registration.remove().await;
    let code = ended?;
    removed.map(|()| code)
}

async fn bind(options: &ListenOptions) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((HOST, options.port.unwrap_or(PORT_DEFAULT)));
    let bound = match TcpListener::bind(address).await {
        // Who registers by itself need not know the port.
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && options.register
                && options.port.is_none() =>
        {
            TcpListener::bind(SocketAddr::from((HOST, 0))).await
        }
        bound => bound,
    };
    bound.with_context(|| {
        format!("cannot listen on {address}; choose another port with --port (0: any free one)")
    })
}

/// What ends a listener from outside: Ctrl-C, SIGTERM, and the end of its terminal.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Ends {
    fn heeded() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

async fn receive(
    options: &ListenOptions,
    contract: Contract,
    listener: TcpListener,
    kept: &Kept,
    mut ends: Ends,
    registered: Option<&Registration>,
) -> anyhow::Result<ExitCode> {
    let identity = kept.authority.issue(&["127.0.0.1", "localhost"])?;
    let desk = Arc::new(Desk::new(options, contract));
    let (at_desk, delay) = (Arc::clone(&desk), options.delay.unwrap_or(Duration::ZERO));
    let receiver = Receiver::start(listener, &identity, Options::default(), move |request| {
        let status = at_desk.take(&request);
        async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Answer::status(status)
        }
    })?;
    desk.greet(receiver.address(), kept, options, registered)?;
    let mut failures = receiver.handshake_failures();
    loop {
        tokio::select! {
            () = ends.come() => break,
            () = desk.done.cancelled() => break,
            Ok(()) = failures.changed() => {
                let failure = failures.borrow_and_update().clone();
                desk.turned_away(&failure.unwrap_or_default(), kept)?;
            }
        }
    }
    receiver.stop().await;
    desk.close()
}

fn contract(options: &ListenOptions) -> anyhow::Result<Result<Contract, Usage>> {
    let read = || {
        let name = options.profile.as_deref().unwrap_or(PROFILE_DEFAULT);
        let profile = profile(name, options.config.as_deref())?;
        let secret = match &options.secret {
            Some(secret) => Some(secret.clone()),
            None => secret(options.secret_file.as_deref())?,
        };
        Ok((profile, secret))
    };
    let (profile, secret) = match read() {
        Ok(read) => read,
        Err(usage) => return Ok(Err(usage)),
    };
    let contract = Contract::new(profile, secret)?;
    // A secret that can never fit is better told before the first request than after it.
    let trial = contract.judge(&HeaderMap::new(), b"", Clock::system().wall());
    if let Verdict::Refused(why @ VerifyError::SecretMalformed(_)) = trial {
        let remedy = why.remedy();
        return Ok(Err(Usage(format!("{why}; {remedy}"))));
    }
    Ok(Ok(contract))
}

/// Where requests are taken in, one after the other.
#[derive(Debug)]
struct Desk {
    contract: Contract,
    once: Option<u64>,
    /// No more requests are wanted.
    done: CancellationToken,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    answers: Answers,
    out: Printer,
    requests: u64,
    verified: u64,
    /// The error that ended the printing.
    broken: Option<io::Error>,
}

impl Desk {
    fn new(options: &ListenOptions, contract: Contract) -> Self {
        let book = Book {
            answers: Answers::new(options),
            out: Printer::stdout(options.json),
            requests: 0,
            verified: 0,
            broken: None,
        };
        Self {
            contract,
            once: options.once,
            done: CancellationToken::new(),
            book: Mutex::new(book),
        }
    }

    /// Judges a request, prints it, and says what it is answered.
    fn take(&self, request: &ReceivedRequest) -> u16 {
        let (headers, body) = (&request.headers, &request.body);
        let verdict = self.contract.judge(headers, body, request.at);
        let named = self.contract.named(headers, body);
        let event = event_key(&request.path, &named, body);
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if book.broken.is_some() || self.once.is_some_and(|once| book.requests >= once) {
            return 503; // it came while the end was under way; the sender tries again
        }
        book.requests += 1;
        book.verified += u64::from(matches!(verdict, Verdict::Verified(_)));
        let refused = matches!(verdict, Verdict::Refused(_));
        let decision = book.answers.to(event, refused);
        let seen = Seen {
            request,
            named: &named,
            verdict: &verdict,
            decision,
        };
        if let Err(error) = book.out.request(&seen) {
            book.broken = Some(error);
            self.done.cancel();
        }
        if self.once == Some(book.requests) {
            self.done.cancel();
        }
        decision.status
    }

    /// Prints where to send, and how a daemon is told to, or that it was told.
    fn greet(
        &self,
        address: SocketAddr,
        kept: &Kept,
        options: &ListenOptions,
        registered: Option<&Registration>,
    ) -> anyhow::Result<()> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let (out, profile) = (&mut book.out, &self.contract.profile.name);
        let (url, allow) = (format!("https://{address}"), format!("{HOST}/32"));
        let ca = kept.certificate.display().to_string();
        if out.is_machine() {
            let told = out.json(&json!({
                "kind": "listening", "url": url, "profile": profile, "ca": ca,
                "webhook_id": registered.map(|registered| &registered.id),
                "api": registered.map(|registered| &registered.api),
                "egress": { "allow": [allow], "extra_ca": [ca] },
            }));
            return told.context("standard output cannot be written");
        }
        let secret = match (self.contract.has_secret(), registered) {
            (true, _) => "signatures are verified",
            (false, Some(_)) => "this profile signs nothing for it",
            (false, None) => {
                "signatures are NOT verified: no secret was given (--secret-file FILE, or HOOKWHEEL_SECRET)"
            }
        };
        let status = options.status;
        let mut lines = vec![format!(
            "listening at {url}, profile {profile}, answering {status}; {secret}"
        )];
        match registered {
            Some(registered) => lines.extend([
                registered.line(&options.events),
                "Post an event, and it shows here. Ctrl-C ends, and removes the webhook."
                    .to_owned(),
                String::new(),
            ]),
            None => lines.extend([
                String::new(),
                "For a daemon to send here, its config needs (`hookwheel init --local` writes it):"
                    .to_owned(),
                String::new(),
                "  [egress]".to_owned(),
                format!("  allow = [\"{allow}\"]"),
                // A TOML basic string and a JSON one write the same characters the same way.
                format!("  extra_ca = [{}]", serde_json::Value::from(ca)),
                String::new(),
                format!("Register {url}/ as a webhook, or let --register do that. Ctrl-C ends."),
                String::new(),
            ]),
        }
        let told = lines.iter().try_for_each(|line| out.line(line));
        told.context("standard output cannot be written")
    }

    /// Prints that a sender came, and left before there was a request.
    fn turned_away(&self, failure: &str, kept: &Kept) -> anyhow::Result<()> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let why = format!("a sender came, but there was no TLS with it: {failure}");
        let ca = kept.certificate.display();
        let fix = format!("let it trust {ca} (a daemon's `extra_ca`), and use an https:// URL");
        let told = if book.out.is_machine() {
            book.out
                .json(&json!({ "kind": "no_tls", "why": why, "fix": fix }))
        } else {
            let lines = [format!("What to do: {fix}"), String::new()];
            book.out
                .bad(&why)
                .and_then(|()| lines.iter().try_for_each(|line| book.out.line(line)))
        };
        told.context("standard output cannot be written")
    }

    /// The last words, and the exit code.
    fn close(&self) -> anyhow::Result<ExitCode> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = book.broken.take() {
            return Err(error).context("standard output cannot be written");
        }
        let (requests, verified) = (book.requests, book.verified);
        let told = if book.out.is_machine() {
            let end = json!({ "kind": "end", "requests": requests, "verified": verified });
            book.out.json(&end)
        } else {
            let end = format!("requests: {requests}, verified: {verified}");
            book.out.line(&end)
        };
        told.context("standard output cannot be written")?;
        let wanted = self.once.is_none_or(|once| verified >= once);
        Ok(if wanted {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
