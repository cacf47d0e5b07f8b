//! A date and time for `strftime_now`, computed without the system's time zone tables: which zone
//! a machine is in is written in its environment, which is the program's business.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// A date and time of day of the proleptic Gregorian calendar, without a time zone: what a
/// template prints as "now".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    seconds: i64, // since 1970-01-01 00:00
}

impl Timestamp {
    /// Seconds since 1970-01-01 00:00, clamped to the years 0 to 9999. For local time, add the
    /// zone's offset from UTC.
    pub fn from_unix(seconds: i64) -> Timestamp {
        // 0000-01-01 00:00:00 and 9999-12-31 23:59:59
        Timestamp {
            seconds: seconds.clamp(-62_167_219_200, 253_402_300_799),
        }
    }

    /// The present time in UTC.
    pub fn now() -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = elapsed.map_or(0, |elapsed| elapsed.as_secs());
        Timestamp::from_unix(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// Seconds since 1970-01-01 00:00.
    pub fn unix(&self) -> i64 {
        self.seconds
    }

    /// Formats like `strftime` in the C locale: the codes
    /// `%a %A %b %B %c %C %d %D %e %f %F %g %G %h %H %I %j %k %l %m %M %n %p %P %r %R %s %S %t %T
    /// %u %U %V %w %W %x %X %y %Y %%`, with the flags `-`, `_`, `0` and `^`. `%z` and `%Z` are empty
    /// because there is no zone. Anything else is copied as it is.
    pub fn format(&self, format: &str) -> String {
        let mut out = String::with_capacity(format.len() + 16);
        let mut rest = format.chars();
        while let Some(letter) = rest.next() {
            if letter != '%' {
                out.push(letter);
                continue;
            }
            let mut ahead = rest.clone();
            let mut flag = None;
            let mut code = ahead.next();
            if let Some(found @ ('-' | '_' | '0' | '^')) = code {
                flag = Some(found);
                code = ahead.next();
            }
            match code.and_then(|code| self.field(code)) {
                Some(field) => {
                    field.write(flag, &mut out);
                    rest = ahead;
                }
                None => out.push('%'),
            }
        }
        out
    }

    /// What a code stands for; `None` if there is no such code.
    fn field(&self, code: char) -> Option<Field> {
        let date = self.date();
        let second_of_day = self.seconds.rem_euclid(86_400);
        let hour = second_of_day / 3600;
        let twelve = (hour + 11) % 12 + 1;
        let from_monday = (date.weekday + 6) % 7;
        let month_name = MONTHS[(date.month - 1) as usize];
        let weekday_name = WEEKDAYS[date.weekday as usize];
        let number = |value, width, pad| Some(Field::Number { value, width, pad });
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        match code {
            'Y' => number(date.year, 1, '0'),
            'C' => number(date.year / 100, 2, '0'),
            'y' => number(date.year % 100, 2, '0'),
            'G' => number(date.iso_week().0, 1, '0'),
            'g' => number(date.iso_week().0.rem_euclid(100), 2, '0'),
            'V' => number(date.iso_week().1, 2, '0'),
            'm' => number(date.month, 2, '0'),
            'd' => number(date.day, 2, '0'),
            'e' => number(date.day, 2, ' '),
            'j' => number(date.year_day + 1, 3, '0'),
            'H' => number(hour, 2, '0'),
            'k' => number(hour, 2, ' '),
            'I' => number(twelve, 2, '0'),
            'l' => number(twelve, 2, ' '),
            'M' => number(second_of_day / 60 % 60, 2, '0'),
            'S' => number(second_of_day % 60, 2, '0'),
            'f' => number(0, 6, '0'),
            's' => number(self.seconds, 1, '0'),
            'u' => number(from_monday + 1, 1, '0'),
            'w' => number(date.weekday, 1, '0'),
            'U' => number((date.year_day + 7 - date.weekday) / 7, 2, '0'),
            'W' => number((date.year_day + 7 - from_monday) / 7, 2, '0'),
            'B' => text(month_name),
            'b' | 'h' => text(&month_name[..3]),
            'A' => text(weekday_name),
            'a' => text(&weekday_name[..3]),
            'p' => text(if hour < 12 { "AM" } else { "PM" }),
            'P' => text(if hour < 12 { "am" } else { "pm" }),
            'F' => text(&self.format("%Y-%m-%d")),
            'D' | 'x' => text(&self.format("%m/%d/%y")),
            'T' | 'X' => text(&self.format("%H:%M:%S")),
            'R' => text(&self.format("%H:%M")),
            'r' => text(&self.format("%I:%M:%S %p")),
            'c' => text(&self.format("%a %b %e %H:%M:%S %Y")),
            'z' | 'Z' => text(""),
            'n' => text("\n"),
            't' => text("\t"),
            '%' => text("%"),
            _ => None,
        }
    }

    fn date(&self) -> Date {
        let days = self.seconds.div_euclid(86_400);
        // Days are counted from 0000-03-01, so that the leap day is the last of its year: an era
        // is 400 years of 146097 days; month m from March starts at day (153 m + 2) / 5.
        // Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let march_day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * march_day + 2) / 153;
        let day = march_day - (153 * march_month + 2) / 5 + 1;
        let month = (march_month + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        // January and February end the year that starts in March: 306 days lie before them
        let year_day = match month <= 2 {
            true => march_day - 306,
            false => march_day + 59 + i64::from(is_leap(year)),
        };
        Date {
            year,
            month,
            day,
            year_day,
            weekday: (days + 4).rem_euclid(7), // 1970-01-01 was a Thursday
        }
    }
}

/// What a format code stands for.
enum Field {
    Number { value: i64, width: usize, pad: char },
    Text(String),
}

impl Field {
    fn write(&self, flag: Option<char>, out: &mut String) {
        match self {
            Field::Text(text) if flag == Some('^') => out.push_str(&text.to_uppercase()),
            Field::Text(text) => out.push_str(text),
            Field::Number { value, width, pad } => {
                let pad = match flag {
                    Some('-') => None,
                    Some('_') => Some(' '),
                    Some('0') => Some('0'),
                    _ => Some(*pad),
                };
                let digits = value.to_string();
                if let Some(pad) = pad {
                    (digits.len()..*width).for_each(|_| out.push(pad));
                }
                out.push_str(&digits);
            }
        }
    }
}

struct Date {
    year: i64,
    month: i64,    // 1..=12
    day: i64,      // 1..=31
    year_day: i64, // 0..=365
    weekday: i64,  // 0..=6 from Sunday
}

impl Date {
    /// Year and week of ISO 8601: weeks start on Monday, and week 1 has the year's first Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let thursday = self.year_day + 3 - (self.weekday + 6) % 7;
        let days = |year| 365 + i64::from(is_leap(year));
        if thursday < 0 {
            (self.year - 1, (thursday + days(self.year - 1)) / 7 + 1)
        } else if thursday >= days(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, thursday / 7 + 1)
        }
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_format() {
        // 2025-03-09 14:05:07, a Sunday
        let time = Timestamp::from_unix(1_741_529_107);
        for (format, expected) in [
            ("%Y-%m-%d", "2025-03-09"),
            ("%d %b %Y", "09 Mar 2025"),
            ("%B %-d, %Y", "March 9, 2025"),
            ("%A %e %H:%M:%S", "Sunday  9 14:05:07"),
            ("%I:%M %p %j %y%%", "02:05 PM 068 25%"),
            ("%U %W %V %G %u %w", "10 09 10 2025 7 0"),
            ("%c", "Sun Mar  9 14:05:07 2025"),
            ("%^a %_d %Q 100%", "SUN  9 %Q 100%"),
            ("%", "%"),
        ] {
            assert_eq!(time.format(format), expected, "{format}");
        }
    }

    /// Checked with Python's `datetime.strftime`, the last line by the calendar's 400-year period.
    #[test]
    fn calendars_turn_over() {
        for (seconds, expected) in [
            (0, "1970-01-01 Thu 001 1970-W01"),
            (951_782_400, "2000-02-29 Tue 060 2000-W09"),
            (951_868_800, "2000-03-01 Wed 061 2000-W09"),
            (1_104_451_200, "2004-12-31 Fri 366 2004-W53"),
            (1_104_537_600, "2005-01-01 Sat 001 2004-W53"),
            (1_230_681_600, "2008-12-31 Wed 366 2009-W01"),
            (-1, "1969-12-31 Wed 365 1970-W01"),
            (i64::MAX, "9999-12-31 Fri 365 9999-W52"),
            (i64::MIN, "0-01-01 Sat 001 -1-W52"),
        ] {
            let found = Timestamp::from_unix(seconds).format("%F %a %j %G-W%V");
            assert_eq!(found, expected);
        }
    }
}
