//! Connections that have not said yet what they want: so many in all and of one address. Where there are more, the one that waits
//! longest has to go. A client that means it is through within a moment, so it is never the one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::http::proxy;

/// All of them.
pub(super) struct Doorstep {
    most: usize,
    most_of_address: usize,
    crowd: Mutex<Crowd>,
}

#[derive(Default)]
struct Crowd {
    last: u64,
    /// In the order they came. Whoever is taken out here is told by it.
    all: BTreeMap<u64, (Option<IpAddr>, oneshot::Sender<()>)>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

/// One of them, until it is dropped.
pub(super) struct Turn {
    doorstep: Arc<Doorstep>,
    id: u64,
    stays: oneshot::Receiver<()>,
}

impl Doorstep {
    /// Room for so many.
    pub fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            most_of_address: most_of_address.max(1),
            crowd: Mutex::default(),
        })
    }

    /// One more; without an address it counts among all only.
    pub fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Turn {
        let address = address.map(proxy::bucket);
        let (stay, stays) = oneshot::channel();
        let mut crowd = self.crowd.lock();
        if let Some(address) = address {
            let own = crowd.by_address.get(&address);
            let oldest = own
                .filter(|own| own.len() >= self.most_of_address)
                .and_then(|own| own.first().copied());
            if let Some(oldest) = oldest {
                crowd.remove(oldest);
            }
        }
        if crowd.all.len() >= self.most {
            crowd.remove_oldest();
        }
        crowd.last += 1;
        let id = crowd.last;
        if let Some(address) = address {
            crowd.by_address.entry(address).or_default().insert(id);
        }
        crowd.all.insert(id, (address, stay));
        drop(crowd);
        Turn {
            doorstep: Arc::clone(self),
            id,
            stays,
        }
    }

    /// Makes room for something else: the one that waits longest goes. False where nobody waits.
    pub fn send_one_away(&self) -> bool {
        self.crowd.lock().remove_oldest()
    }
}

impl Crowd {
    fn remove_oldest(&mut self) -> bool {
        let oldest = self.all.keys().next().copied();
        oldest.is_some_and(|oldest| self.remove(oldest))
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some((address, _)) = self.all.remove(&id) else {
            return false;
        };
        if let Some(address) = address {
            if let Some(own) = self.by_address.get_mut(&address) {
                own.remove(&id);
                if own.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
        true
    }
}

impl Turn {
    /// What `waits` comes to; `None` where it has to go before that.
    pub async fn wait<T>(&mut self, waits: impl std::future::Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = waits => Some(done),
            _ = &mut self.stays => None,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.doorstep.crowd.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_to_go(turn: &mut Turn) -> bool {
        turn.stays.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn the_one_that_waits_longest_goes() {
        let doorstep = Doorstep::new(3, 2);
        let (one, two): (IpAddr, IpAddr) = ("1.2.3.4".parse().unwrap(), "5.6.7.8".parse().unwrap());
        let mut first = doorstep.enter(Some(one));
        let mut second = doorstep.enter(Some(one));
        let mut other = doorstep.enter(Some(two));
        // A third of one address: its own oldest goes, nobody else's.
        let mut third = doorstep.enter(Some(one));
        assert!(has_to_go(&mut first));
        assert!(![&mut second, &mut other, &mut third]
            .into_iter()
            .any(has_to_go));
        // A fourth in all.
        let mut fourth = doorstep.enter(None);
        assert!(has_to_go(&mut second) && !has_to_go(&mut other) && !has_to_go(&mut third));
        assert!(doorstep.send_one_away() && has_to_go(&mut other));
        // Who is through makes room.
        drop(third);
        let last = doorstep.enter(Some(one));
        assert!(!has_to_go(&mut fourth));
        drop((first, second, other, fourth, last));
        assert!(!doorstep.send_one_away());
        assert!(doorstep.crowd.lock().by_address.is_empty());
    }

    #[test]
    fn customers_with_a_whole_network_are_one() {
        let doorstep = Doorstep::new(10, 1);
        let mut first = doorstep.enter("2001:db8::1".parse().ok());
        let _second = doorstep.enter("2001:db8::2".parse().ok());
        assert!(has_to_go(&mut first));
    }
}
