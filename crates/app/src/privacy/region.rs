//! Where people's rows may lie: one region for an installation, said when a person registers and never changed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::AppError;

/// A region, such as `eu`: a lower-case letter, then at most 15 letters, digits and hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(String);

/// The text is no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a region is a lower-case letter and at most 15 more letters, digits or hyphens, such as `eu`")]
pub struct NoRegion;

impl FromStr for Region {
    type Err = NoRegion;

    fn from_str(text: &str) -> Result<Self, NoRegion> {
        let mut letters = text.bytes();
        let first = letters.next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if first && rest && text.len() <= 16 { Ok(Self(text.to_owned())) } else { Err(NoRegion) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Region {
    /// As it stands in rows.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The region of this installation, and where the others are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Homes {
    /// Of this one; none where everybody may be.
    pub here: Option<Region>,
    /// The addresses of the others, such as `https://us.firm.example`.
    pub others: BTreeMap<Region, String>,
}

impl Homes {
    /// Whether somebody who wants to be in a region may register here; who wants none is of this one. Refused with
    /// `wrong_region` and the address of the right installation where it is known.
    pub fn admit(&self, wanted: Option<&Region>) -> Result<(), AppError> {
        match wanted {
            None => Ok(()),
            Some(wanted) if Some(wanted) == self.here.as_ref() => Ok(()),
            Some(wanted) => {
                let say = match self.others.get(wanted) {
                    Some(address) => format!("People of the region {wanted} register at {address}."),
                    None => format!("People of the region {wanted} cannot register here."),
                };
                Err(AppError::refused("wrong_region", say))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_of_another_region_is_told_where_it_is() {
        let region = |text: &str| text.parse::<Region>().unwrap();
        let others = [(region("us"), "https://us.firm.example".to_owned())].into();
        let homes = Homes { here: Some(region("eu")), others };
        homes.admit(None).unwrap();
        homes.admit(Some(&region("eu"))).unwrap();
        let refused = homes.admit(Some(&region("us"))).unwrap_err().to_string();
        assert!(
            refused.starts_with("wrong_region") && refused.contains("https://us.firm.example"),
            "{refused}"
        );
        assert!(homes.admit(Some(&region("sg"))).is_err());
        assert!(Homes::default().admit(Some(&region("eu"))).is_err());
    }

    #[test]
    fn regions_are_short_words() {
        for good in ["eu", "us-east-1", "a", "abcdefghijklmnop"] {
            assert!(good.parse::<Region>().is_ok(), "{good}");
        }
        for bad in ["", "EU", "1a", "-a", "a_b", "abcdefghijklmnopq", "é"] {
            assert_eq!(bad.parse::<Region>(), Err(NoRegion), "{bad}");
        }
    }
}
