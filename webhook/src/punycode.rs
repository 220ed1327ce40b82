//! Names with letters beyond ASCII as DNS has them: punycode (RFC 3492), label by label.

/// The parameters of RFC 3492, section 5.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// `host` with every label in ASCII, where that is but a matter of spelling; [`None`] where it is ASCII as it
/// is, or not plain letters and digits.
///
/// It only advises: which letters a registry takes (RFC 5892) is not asked, and what would have to be
/// composed first is left alone.
pub(crate) fn host(host: &str) -> Option<String> {
    let is_combining = |c: char| matches!(c, '\u{300}'..='\u{36f}');
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '*');
    if host.is_ascii() || host.len() > 253 || !host.chars().all(|c| is_plain(c) && !is_combining(c))
    {
        return None;
    }
    let labels = host.split('.').map(|label| {
        let label = label.to_lowercase();
        if label.is_ascii() { Some(label) } else { Some(format!("xn--{}", encoded(&label)?)) }
    });
    Some(labels.collect::<Option<Vec<String>>>()?.join("."))
}

/// The procedure of RFC 3492, section 6.3; [`None`] where a number outgrows its type.
fn encoded(label: &str) -> Option<String> {
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    let total = u32::try_from(label.chars().count()).ok()?;
    while handled < total {
        let next = label.chars().map(u32::from).filter(|c| *c >= n).min()?;
        delta = delta.checked_add((next - n).checked_mul(handled + 1)?)?;
        n = next;
        for c in label.chars().map(u32::from) {
            if c < n {
                delta = delta.checked_add(1)?;
            } else if c == n {
                push_number(&mut out, delta, bias);
                bias = adapted(delta, handled + 1, handled == basic);
                delta = 0;
                handled += 1;
            }
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

/// A number as digits of variable length.
fn push_number(out: &mut String, number: u32, bias: u32) {
    let mut rest = number;
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if rest < threshold {
            return out.push(letter(rest));
        }
        let digit_of = threshold + (rest - threshold) % (BASE - threshold);
        out.push(letter(digit_of));
        rest = (rest - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn adapted(delta: u32, points: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > ((BASE - T_MIN) * T_MAX) / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

/// The digits of punycode: `a` to `z`, then `0` to `9`.
fn letter(value: u32) -> char {
    match value {
        0..=25 => char::from_u32(u32::from('a') + value).unwrap_or('a'),
        _ => char::from_u32(u32::from('0') + value - 26).unwrap_or('0'),
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn names_are_spelled_as_the_registries_have_them() {
        for (written, ascii) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.MÜNCHEN.example", "*.xn--mnchen-3ya.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"),
            ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
            ("παράδειγμα.δοκιμή", "xn--hxajbheg2az3al.xn--jxalpdlp"),
        ] {
            assert_eq!(host(written).as_deref(), Some(ascii), "{written}");
        }
        for other in ["a.example", "a b.exämple", "bu\u{308}cher.example", "", "ä_b.example"] {
            assert_eq!(host(other), None, "{other}");
        }
    }
}
