//! Places for connections: counted in all and by address, given back when they are dropped.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;

use super::http::proxy;

/// Places taken by address.
pub(super) type Table = Mutex<HashMap<IpAddr, u32>>;

/// A place that is given back when it is dropped.
pub(super) struct Place(Box<dyn FnMut() + Send>);

impl Drop for Place {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A place, unless `most` are taken.
pub(super) fn take(count: &Arc<AtomicUsize>, most: usize) -> Option<Place> {
    if count.fetch_add(1, Ordering::Relaxed) >= most {
        count.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let count = Arc::clone(count);
    Some(Place(Box::new(move || {
        count.fetch_sub(1, Ordering::Relaxed);
    })))
}

/// A place, however many are taken.
pub(super) fn take_anyway(count: &Arc<AtomicUsize>) -> Place {
    count.fetch_add(1, Ordering::Relaxed);
    let count = Arc::clone(count);
    Place(Box::new(move || {
        count.fetch_sub(1, Ordering::Relaxed);
    }))
}

/// A place, unless `most` are taken.
pub(super) fn take_for(table: &Arc<Table>, address: IpAddr, most: u32) -> Option<Place> {
    let key = proxy::bucket(address);
    {
        let mut counts = table.lock();
        let count = counts.entry(key).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
    }
    let table = Arc::clone(table);
    Some(Place(Box::new(move || {
        let mut counts = table.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    })))
}
