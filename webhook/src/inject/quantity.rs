//! Kubernetes quantities: `250m`, `0.5`, `64Mi`, `1e3`.
//!
//! <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A quantity, as it was written and as a number.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    /// In billionths, the finest that Kubernetes knows.
    nano: i128,
}

impl Quantity {
    /// Whether it was written with the suffix `m`: thousandths.
    pub fn is_milli(&self) -> bool {
        self.text.ends_with('m')
    }

    /// Whether it is less than a mebibyte, were it one of bytes.
    pub fn is_below_mebi(&self) -> bool {
        self.nano < NANO << 20
    }

    /// Without a suffix.
    pub fn units(&self) -> i128 {
        self.nano / NANO
    }

    /// The number before the suffix.
    pub fn number(&self) -> &str {
        self.text.trim_end_matches(|c: char| !c.is_ascii_digit())
    }

    /// Whether it is more than `ratio` times `other`.
    pub fn is_above(&self, ratio: &Self, other: &Self) -> bool {
        let sides = (self.nano.checked_mul(1_000_000_000), ratio.nano.checked_mul(other.nano));
        matches!(sides, (Some(this), Some(most)) if this > most)
    }

    /// Whether it is more than what is left of `whole` when `used` is gone.
    pub fn exceeds_rest(&self, whole: &Self, used: Option<&Self>) -> bool {
        let used = used.map_or(0, |used| used.nano);
        self.nano.saturating_add(used) > whole.nano
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self::of_nano(self.nano.saturating_add(other.nano))
    }

    /// What is left without `other`, which may be nothing.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        Self::of_nano((self.nano - other.nano).max(0))
    }

    /// The part of it that is left when it is divided by `ratio`, rounded up to what people write.
    pub fn divided(&self, ratio: &Self) -> Option<Self> {
        const MEBI: i128 = NANO << 20;
        let exact = self.nano.checked_mul(NANO)?.checked_div(ratio.nano)?;
        let step = if exact < MEBI { MILLI } else { MEBI };
        Some(Self::of_nano(exact.checked_add(step - 1)? / step * step))
    }

    /// In the largest unit that loses nothing; binary ones are for bytes.
    fn of_nano(nano: i128) -> Self {
        let unit = [("Gi", NANO << 30), ("Mi", NANO << 20), ("", NANO), ("m", MILLI), ("u", 1_000)]
            .into_iter()
            .find(|(suffix, unit)| nano % unit == 0 && (nano >= *unit || suffix.is_empty()));
        let (suffix, unit) = unit.unwrap_or(("n", 1));
        Self { text: format!("{}{suffix}", nano / unit), nano }
    }

    /// Whether it is more than nothing.
    pub fn is_positive(&self) -> bool {
        self.nano > 0
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let wrong = || "write a quantity such as `100m`, `0.5`, `64Mi` or `1Gi`".to_owned();
        if digits.is_empty() || digits.len() > 18 || fraction.contains('.') {
            return Err(wrong());
        }
        let mantissa: i128 = digits.parse().map_err(|_not_digits| wrong())?;
        let decimals = u32::try_from(fraction.len()).map_err(|_too_long| wrong())?;
        let nano = scale(suffix)
            .and_then(|scale| mantissa.checked_mul(scale))
            .map(|product| product / 10_i128.pow(decimals))
            .ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), nano })
    }
}

/// One, in billionths.
const NANO: i128 = 1_000_000_000;

/// A thousandth, in billionths.
const MILLI: i128 = 1_000_000;

/// What one unit with this suffix is, in billionths.
fn scale(suffix: &str) -> Option<i128> {
    let binary = |power: u32| Some(NANO << (10 * power));
    let decimal = |power: u32| Some(NANO * 10_i128.pow(power));
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(NANO),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix('+').unwrap_or(exponent);
            let power =
                digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
            (power <= 12_u32).then(|| decimal(power))?
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    fn read(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn counts_times_and_what_is_left() {
        assert!(read("1").is_above(&read("10"), &read("50m")));
        assert!(!read("500m").is_above(&read("10"), &read("50m")));
        assert!(read("10m").exceeds_rest(&read("2"), Some(&read("1995m"))));
        assert!(!read("10m").exceeds_rest(&read("2"), Some(&read("1990m"))));
        assert!(!read("64Mi").exceeds_rest(&read("1Gi"), None));
    }

    #[test]
    fn calculates_in_units_that_people_write() {
        let text = |quantity: Quantity| quantity.to_string();
        assert_eq!(text(read("100m").plus(&read("0.9"))), "1");
        assert_eq!(text(read("1Gi").plus(&read("512Mi"))), "1536Mi");
        assert_eq!(text(read("2Gi").less(&read("1Gi"))), "1Gi");
        assert_eq!(text(read("1Mi").less(&read("1"))), "1048575");
        assert_eq!(text(read("1").less(&read("250m"))), "750m");
        assert_eq!(text(read("10m").less(&read("1"))), "0");
        assert_eq!(text(read("1n").plus(&read("1u"))), "1001n");
        assert_eq!(text(read("1").divided(&read("3")).unwrap()), "334m");
        assert_eq!(text(read("128Mi").divided(&read("3")).unwrap()), "43Mi");
        assert_eq!(read("1").divided(&read("0")), None);
    }

    #[test]
    fn tells_bytes_from_what_somebody_may_have_meant() {
        assert!(read("128").is_below_mebi() && read("1023Ki").is_below_mebi());
        assert!(!read("1Mi").is_below_mebi() && !read("2M").is_below_mebi());
        assert_eq!((read("128k").units(), read("128k").number()), (128_000, "128"));
        assert_eq!((read("1.5").units(), read("1.5").number()), (1, "1.5"));
    }

    #[test]
    fn compares_across_suffixes() {
        assert_eq!(read("0.5"), read("500m"));
        assert_eq!(read("1e3"), read("1k"));
        assert_eq!(read("1Gi"), read("1024Mi"));
        assert!(read("128Mi") > read("128M"));
        assert!(read("100m") < read("1"));
        assert_eq!(read("0.5Gi"), read("512Mi"));
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        for text in ["", "m", "1.2.3", "1 Gi", "-1", "1mi", "0x10", "1e99", "9999999999999999999"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }
}
