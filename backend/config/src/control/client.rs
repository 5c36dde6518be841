//! The client's side of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::port::Port;
use super::{
    Answer, Call, ErrorCode, Hello, LineError, MAX_ANSWER, MAX_CALL, PROTOCOL, Reply, Request, read_line, write_line,
};
use crate::dir;

/// Why a call could not be made or was refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No card answers.
    #[error("no card answers at {}: {source}", path.display())]
    NoCard {
        /// The control socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The guest has no port to its card.
    #[error("no card answers at {}: {source}: was this guest started with a control port (mlx5emu vm)?", path.display())]
    NoPort {
        /// The port.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The path of the control socket cannot be one.
    #[error(transparent)]
    Path(#[from] dir::DirError),
    /// The server speaks another protocol.
    #[error(
        "the card speaks version {theirs} of the control protocol and this mlx5emu speaks {PROTOCOL}: use the same mlx5emu for both"
    )]
    Version {
        /// The server's version.
        theirs: u32,
    },
    /// The connection ended or carried rubbish.
    #[error("the card's control connection failed: {0}")]
    Line(#[from] LineError),
    /// The server hung up.
    #[error("the card has gone away")]
    Gone,
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// What kind of error.
        code: ErrorCode,
        /// The server's sentence.
        message: String,
    },
}

/// A connection to a running card.
#[derive(Debug)]
pub struct Client {
    link: Link,
}

/// How the card is reached.
#[derive(Debug)]
enum Link {
    Socket(Socket),
    Port(Port),
}

/// A connection of one's own.
#[derive(Debug)]
struct Socket {
    stream: BufReader<UnixStream>,
    hello: Hello,
    last_id: u64,
}

/// How long a server may take to greet and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects to the card that serves from `dir`.
    ///
    /// # Errors
    /// No card answers there, or one of another protocol version.
    pub fn connect(dir: &Path) -> Result<Client, ClientError> {
        let path = dir::control_path(dir)?;
        let stream = UnixStream::connect(&path).map_err(|source| ClientError::NoCard { path, source })?;
        Client::greet(stream)
    }

    /// Reads the greeting from a connected stream.
    ///
    /// # Errors
    /// Not a control server, or one of another protocol version.
    pub fn greet(stream: UnixStream) -> Result<Client, ClientError> {
        stream.set_read_timeout(Some(PATIENCE)).map_err(LineError::from)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(LineError::from)?;
        let mut stream = BufReader::new(stream);
        // Only the number is looked at before it is known to match: another version may greet in other words.
        let value: serde_json::Value = read_line(&mut stream, MAX_ANSWER)?.ok_or(ClientError::Gone)?;
        let theirs = value.get("protocol").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if theirs != u64::from(PROTOCOL) {
            return Err(ClientError::Version { theirs: u32::try_from(theirs).unwrap_or(u32::MAX) });
        }
        let hello = serde_json::from_value(value).map_err(LineError::from)?;
        Ok(Client { link: Link::Socket(Socket { stream, hello, last_id: 0 }) })
    }

    /// A guest's way to its card: a virtio port, which is opened anew for each call. What a card does not offer to guests
    /// is refused.
    pub fn port(path: &Path) -> Client {
        Client { link: Link::Port(Port::new(path)) }
    }

    /// The server's greeting; a guest's port has none.
    pub fn hello(&self) -> Option<&Hello> {
        match &self.link {
            Link::Socket(socket) => Some(&socket.hello),
            Link::Port(_) => None,
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The server refused ([`ClientError::Refused`]) or the connection failed.
    pub fn call(&mut self, request: Request) -> Result<Reply, ClientError> {
        match &mut self.link {
            Link::Socket(socket) => socket.call(request),
            Link::Port(port) => port.call(request),
        }
    }

    /// Waits for a further answer to the last call: what a call with `follow` goes on to send. Waits as long as it takes.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn follow(&mut self) -> Result<Reply, ClientError> {
        match &mut self.link {
            Link::Socket(socket) => socket.follow(),
            Link::Port(port) => port.follow(),
        }
    }

    /// Whether an answer has begun to come, after waiting for it up to `limit`; false also if a signal came first.
    ///
    /// # Errors
    /// The connection failed.
    pub fn answer_comes(&mut self, limit: Duration) -> Result<bool, ClientError> {
        match &mut self.link {
            Link::Socket(socket) => socket.answer_comes(limit),
            Link::Port(port) => port.comes(limit),
        }
    }

    /// Says that nothing more will be asked, which ends a capture. Answers still come.
    ///
    /// # Errors
    /// The connection failed.
    pub fn finish(&mut self) -> Result<(), ClientError> {
        match &mut self.link {
            Link::Socket(socket) => Ok(socket.stream.get_ref().shutdown(Shutdown::Write).map_err(LineError::from)?),
            Link::Port(port) => {
                port.finish();
                Ok(())
            }
        }
    }
}

impl Socket {
    fn call(&mut self, request: Request) -> Result<Reply, ClientError> {
        self.last_id += 1;
        write_line(self.stream.get_mut(), &Call { id: self.last_id, request }, MAX_CALL)?;
        self.next_reply()
    }

    fn follow(&mut self) -> Result<Reply, ClientError> {
        self.stream.get_ref().set_read_timeout(None).map_err(LineError::from)?;
        self.next_reply()
    }

    fn answer_comes(&mut self, limit: Duration) -> Result<bool, ClientError> {
        if !self.stream.buffer().is_empty() {
            return Ok(true);
        }
        // A limit of zero would be none at all.
        let limit = limit.max(Duration::from_millis(1));
        self.stream.get_ref().set_read_timeout(Some(limit)).map_err(LineError::from)?;
        match self.stream.fill_buf() {
            Ok(_) => Ok(true),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                _ => Err(LineError::from(error).into()),
            },
        }
    }

    fn next_reply(&mut self) -> Result<Reply, ClientError> {
        loop {
            let answer: Answer = read_line(&mut self.stream, MAX_ANSWER)?.ok_or(ClientError::Gone)?;
            match answer.reply {
                Reply::Error { code, message } if answer.id == self.last_id || answer.id == 0 => {
                    return Err(ClientError::Refused { code, message });
                }
                // A late answer to a call that followed.
                _ if answer.id != self.last_id => {}
                reply => return Ok(reply),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn server(script: impl FnOnce(&mut BufReader<UnixStream>) + Send + 'static) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || script(&mut BufReader::new(theirs)));
        ours
    }

    fn say(to: &mut BufReader<UnixStream>, text: &str) {
        to.get_mut().write_all(text.as_bytes()).unwrap();
    }

    const HELLO: &str = concat!(
        r#"{"protocol":2,"version":"9","card":"c","functions":["pf0"],"#,
        r#""placement":{"card":"c","root_ports":[],"functions":[]}}"#,
        "\n"
    );

    #[test]
    fn answers_are_matched_to_calls() {
        let stream = server(|s| {
            say(s, HELLO);
            s.read_line(&mut String::new()).unwrap();
            say(s, "{\"id\":77,\"reply\":{\"kind\":\"pong\"}}\n");
            say(s, "{\"id\":1,\"reply\":{\"kind\":\"inspect\",\"tree\":3}}\n");
            s.read_line(&mut String::new()).unwrap();
            say(s, "{\"id\":2,\"reply\":{\"kind\":\"error\",\"code\":\"not-found\",\"message\":\"no pf9\"}}\n");
        });
        let mut client = Client::greet(stream).unwrap();
        assert_eq!(client.hello().unwrap().card, "c");
        let reply = client.call(Request::Inspect { path: String::new() }).unwrap();
        assert_eq!(reply, Reply::Inspect { tree: 3.into() });
        let error = client.call(Request::Inspect { path: "pf9".into() }).unwrap_err();
        assert_eq!(error.to_string(), "no pf9");
        assert!(matches!(client.follow(), Err(ClientError::Gone)));
    }

    #[test]
    fn another_version_is_refused_before_anything_else() {
        let error = Client::greet(server(|s| say(s, "{\"protocol\":3,\"cards\":[]}\n"))).unwrap_err();
        assert!(matches!(error, ClientError::Version { theirs: 3 }), "{error}");
        let error = Client::greet(server(|s| say(s, "SSH-2.0\n"))).unwrap_err();
        assert!(matches!(error, ClientError::Line(LineError::Json(_))), "{error}");
    }
}
