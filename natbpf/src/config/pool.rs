//! External addresses to translate to.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use natbpf_common::contract::forwards::MAX_POOL;

use super::values::{ValueError, host_address};

/// An address, or addresses one after the other, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// The external addresses of a rule: 1 to [`MAX_POOL`], in the order in which they were given, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressPool {
    addresses: Vec<Ipv4Addr>,
}

impl FromStr for AddressRange {
    type Err = ValueError;

    /// The ends may be given in either order, as those of ports.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |text: &str| text.trim().parse::<Ipv4Addr>().ok();
        let Some((a, b)) = address(first).zip(address(last)) else {
            return Err(ValueError::AddressRange(text.to_owned()));
        };
        Ok(Self { first: host_address(a.min(b))?, last: host_address(a.max(b))? })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.first == self.last { Ok(()) } else { write!(f, "-{}", self.last) }
    }
}

impl AddressPool {
    /// `None`: no range was given.
    pub fn collect(ranges: &[AddressRange]) -> Result<Option<Self>, ValueError> {
        let mut pool: Option<Self> = None;
        for range in ranges {
            pool.get_or_insert(Self { addresses: Vec::new() }).add(*range)?;
        }
        Ok(pool)
    }

    fn add(&mut self, range: AddressRange) -> Result<(), ValueError> {
        for address in u32::from(range.first)..=u32::from(range.last) {
            let address = Ipv4Addr::from(address);
            if self.addresses.contains(&address) {
                return Err(ValueError::Twice(address.into()));
            }
            if self.addresses.len() == MAX_POOL {
                return Err(ValueError::PoolSize);
            }
            self.addresses.push(address);
        }
        Ok(())
    }

    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.addresses.iter().map(Ipv4Addr::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(text: &str) -> Result<Option<AddressPool>, ValueError> {
        let ranges: Vec<AddressRange> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        AddressPool::collect(&ranges)
    }

    #[test]
    fn addresses_need_not_be_neighbours() {
        let given = pool("203.0.113.1 203.0.113.7 203.0.113.11-203.0.113.9").unwrap().unwrap();
        assert_eq!(given.to_string(), "203.0.113.1, 203.0.113.7, 203.0.113.9, 203.0.113.10, 203.0.113.11");
        assert_eq!(pool("").unwrap(), None);
        assert_eq!(pool("203.0.113.0-203.0.113.63").unwrap().unwrap().addresses().len(), MAX_POOL);
    }

    #[test]
    fn what_makes_no_pool_is_refused() {
        let error = |text: &str| pool(text).unwrap_err().to_string();
        assert!(error("203.0.113.0-203.0.113.64").contains("at most 64 addresses"));
        assert!(error("1.0.0.1-255.255.255.255").contains("255.255.255.255 cannot be the address of a host"));
        assert!(error("203.0.113.1 203.0.113.0-203.0.113.2").contains("203.0.113.1/32 is given twice"));
        assert!(error("203.0.113.0/24").contains("write it like 203.0.113.1 or"));
        assert!(error("224.0.0.1").contains("224.0.0.1 cannot be the address of a host"));
    }
}
