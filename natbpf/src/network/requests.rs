//! The socket by which the kernel is asked.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use rtnetlink::Handle;
use tokio::task::JoinHandle;

/// A netlink socket with a task that does the talking. The task ends with an error of the socket, as when memory is short for a moment;
/// then there is another one for the next request.
#[derive(Debug)]
pub struct Requests(Mutex<(Handle, JoinHandle<()>)>);

impl Requests {
    /// Opens it in the network namespace of the calling thread. Needs a Tokio runtime.
    pub fn open() -> io::Result<Self> {
        Ok(Self(Mutex::new(connect()?)))
    }

    pub fn handle(&self) -> Handle {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if current.1.is_finished()
            && let Ok(another) = connect()
        {
            *current = another;
        }
        current.0.clone()
    }
}

fn connect() -> io::Result<(Handle, JoinHandle<()>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok((handle, tokio::spawn(connection)))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_has_failed_is_opened_anew() {
        let requests = Requests::open().unwrap();
        let ask = || async { requests.handle().link().get().execute().try_collect::<Vec<_>>().await };
        let known = ask().await.unwrap().len();
        assert!(known > 0);
        requests.0.lock().unwrap().1.abort();
        while !requests.0.lock().unwrap().1.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask().await.unwrap().len(), known);
    }
}
