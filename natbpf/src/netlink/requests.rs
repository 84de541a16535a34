//! The socket by which the kernel is asked.

use std::{
    io,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, TryStreamExt as _};
use rtnetlink::Handle;
use tokio::{task::JoinHandle, time::timeout};

/// How long the kernel has for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A netlink socket with a task that does the talking. The task ends with an error of the socket, as when
/// memory is short for a moment; then there is another one for the next request.
#[derive(Debug)]
pub struct Requests(Mutex<Connection>);

#[derive(Debug)]
struct Connection {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Requests {
    /// Opens it in the network namespace of the calling thread. Needs a Tokio runtime.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Mutex::new(connect()?)))
    }

    pub fn handle(&self) -> Handle {
        let mut current = self.current();
        if current.task.is_finished()
            && let Ok(another) = connect()
        {
            *current = another;
        }
        current.handle.clone()
    }

    /// The whole answer to a request. Part of one, since the socket has failed meanwhile, is an error.
    pub async fn ask<A, T>(&self, request: impl FnOnce(&Handle) -> A) -> Result<Vec<T>, rtnetlink::Error>
    where
        A: Stream<Item = Result<T, rtnetlink::Error>>,
    {
        let mut answer = pin!(request(&self.handle()));
        let mut pieces = Vec::new();
        loop {
            match timeout(PATIENCE, answer.try_next()).await {
                Ok(Ok(Some(piece))) => pieces.push(piece),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(error),
                // The end of it is lost.
                Err(_) => self.current().task.abort(),
            }
        }
        if self.current().task.is_finished() { Err(rtnetlink::Error::RequestFailed) } else { Ok(pieces) }
    }

    fn current(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect() -> io::Result<Connection> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok(Connection { handle, task: tokio::spawn(connection) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_has_failed_is_opened_anew() {
        let requests = Requests::open().unwrap();
        let links = || requests.ask(|handle| handle.link().get().execute());
        let known = links().await.unwrap().len();
        assert!(known > 0);
        requests.current().task.abort();
        while !requests.current().task.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(links().await.unwrap().len(), known);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() {
        let requests = Requests::open().unwrap();
        let broken = requests.ask(|handle| {
            requests.current().task.abort();
            handle.link().get().execute()
        });
        assert!(matches!(broken.await, Err(rtnetlink::Error::RequestFailed)));
        assert!(!requests.ask(|handle| handle.link().get().execute()).await.unwrap().is_empty());
    }
}
