//! Which of the kernels that there are is meant.

use std::{cmp::Ordering, fmt, str::FromStr};

use clap::ValueEnum;

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The latest of a series, such as 6.1.
    Series(u64, u64),
    Newest,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "newest" {
            return Ok(Self::Newest);
        }
        let numbers = text.split_once('.').map(|(major, minor)| (major.parse(), minor.parse()));
        match numbers {
            Some((Ok(major), Ok(minor))) => Ok(Self::Series(major, minor)),
            _ => Err("neither two numbers, such as 6.12, nor `newest`".into()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(major, minor) => write!(f, "{major}.{minor}"),
            Self::Newest => f.write_str("newest"),
        }
    }
}

/// How much of Linux Debian has built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// For machines without hardware of their own, a third of the size
    Cloud,
    /// Also with drivers of hardware, and PPP
    Full,
}

impl Flavour {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Cloud => "-cloud-amd64",
            Self::Full => ARCHITECTURE,
        }
    }
}

/// A kernel as Debian names it: `6.1.0-56-cloud-amd64`, `6.12.117+deb12-amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release(String);

const ARCHITECTURE: &str = "-amd64";
const PACKAGE: &str = "linux-image-";

impl Release {
    /// The kernel in the package called `package`. Packages that only follow a series have no third number.
    pub fn of_package(package: &str) -> Option<Self> {
        let release = Self(package.strip_prefix(PACKAGE)?.to_owned());
        let version = release.version(Flavour::Cloud).or_else(|| release.version(Flavour::Full))?;
        let exact = version.split('.').count() >= 3 && version.starts_with(|c: char| c.is_ascii_digit());
        exact.then_some(release)
    }

    /// Its version, if it is of this flavour. Words before the architecture are other flavours.
    fn version(&self, flavour: Flavour) -> Option<&str> {
        let version = self.0.strip_suffix(flavour.suffix())?;
        version.rsplit('-').next()?.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
    }

    pub fn package(&self) -> String {
        format!("{PACKAGE}{self}")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `6.12`.
    pub fn series(&self) -> String {
        let numbers: Vec<_> = self.numbers().into_iter().take(2).map(|number| number.to_string()).collect();
        numbers.join(".")
    }

    fn numbers(&self) -> Vec<u64> {
        let version = self.0.trim_end_matches(ARCHITECTURE);
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    }

    pub fn is_of(&self, flavour: Flavour) -> bool {
        self.version(flavour).is_some()
    }

    fn is(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Series(major, minor) => self.numbers().starts_with(&[major, minor]),
            Wanted::Newest => true,
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers().cmp(&other.numbers()).then_with(|| self.0.cmp(&other.0))
    }
}

/// The latest of `offered` that is what is `wanted`.
pub fn choose(offered: &[Release], wanted: Wanted, flavour: Flavour) -> Option<&Release> {
    offered.iter().filter(|release| release.is(wanted) && release.is_of(flavour)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> Vec<Release> {
        let packages = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.95+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-image-7.3.9+deb13-cloud-amd64-unsigned",
            "linux-image-cloud-amd64",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.1.0-58-rt-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-6.12.118+deb12-rt-amd64",
            "linux-image-6.12-amd64",
            "linux-image-7.3.4+deb13-amd64-unsigned",
            "linux-image-amd64",
        ];
        packages.into_iter().filter_map(Release::of_package).collect()
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let offered = offered();
        let chosen =
            |wanted: &str| choose(&offered, wanted.parse().unwrap(), Flavour::Cloud).map(Release::as_str);
        assert_eq!(chosen("6.1"), Some("6.1.0-56-cloud-amd64"));
        assert_eq!(chosen("6.12"), Some("6.12.117+deb12-cloud-amd64"));
        assert_eq!(chosen("newest"), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(chosen("5.10"), None);
    }

    #[test]
    fn packages_that_hold_no_signed_kernel_are_left_out() {
        assert_eq!(offered().len(), 7);
    }

    #[test]
    fn of_two_flavours_the_wanted_one_is_chosen() {
        let offered = offered();
        let chosen =
            |wanted: &str| choose(&offered, wanted.parse().unwrap(), Flavour::Full).map(Release::as_str);
        assert_eq!(chosen("6.1"), Some("6.1.0-57-amd64"));
        assert_eq!(chosen("6.12"), Some("6.12.117+deb12-amd64"));
        assert_eq!(chosen("newest"), Some("6.12.117+deb12-amd64"));
        assert_eq!(chosen("7.3"), None);
        let release = Release::of_package("linux-image-6.12.117+deb12-amd64").unwrap();
        assert_eq!(release.package(), "linux-image-6.12.117+deb12-amd64");
        assert_eq!(release.numbers(), [6, 12, 117, 12]);
    }

    #[test]
    fn release_tells_its_series_and_package() {
        let release = Release::of_package("linux-image-6.1.0-56-cloud-amd64").unwrap();
        assert_eq!(release.series(), "6.1");
        assert_eq!(release.package(), "linux-image-6.1.0-56-cloud-amd64");
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!("6".parse::<Wanted>().is_err());
        assert!("latest".parse::<Wanted>().is_err());
        assert_eq!("6.12".parse::<Wanted>().unwrap().to_string(), "6.12");
    }
}
