//! Calendar events against what `systemd-analyze calendar` says of them.

use super::*;

fn parse(text: &str) -> Result<Calendar, String> {
    Calendar::parse(text, &|zone| zone.contains('/'))
}

#[test]
fn the_normal_form_is_systemds() {
    for (text, normal) in [
        ("Sat,Thu,Mon..Wed,Sat..Sun", "Mon..Thu,Sat,Sun *-*-* 00:00:00"),
        ("Mon,Sun 12-*-* 2,1:23", "Mon,Sun 2012-*-* 01,02:23:00"),
        ("Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed..Wed,Wed *-1", "Wed *-*-01 00:00:00"),
        ("Wed, 17:48", "Wed *-*-* 17:48:00"),
        ("Wed..Sat,Tue 12-10-15 1:2:3", "Tue..Sat 2012-10-15 01:02:03"),
        ("*-*-7 0:0:0", "*-*-07 00:00:00"),
        ("10-15", "*-10-15 00:00:00"),
        ("monday *-12-* 17:00", "Mon *-12-* 17:00:00"),
        ("Mon,Fri *-*-3,1,2 *:30:45", "Mon,Fri *-*-01,02,03 *:30:45"),
        ("12,14,13,12:20,10,30", "*-*-* 12,13,14:10,20,30:00"),
        ("12..14:10,20,30", "*-*-* 12..14:10,20,30:00"),
        ("mon,fri *-1/2-1,3 *:30:45", "Mon,Fri *-01/2-01,03 *:30:45"),
        ("03-05 08:05:40", "*-03-05 08:05:40"),
        ("08:05:40", "*-*-* 08:05:40"),
        ("05:40", "*-*-* 05:40:00"),
        ("Sat,Sun 12-05 08:05:40", "Sat,Sun *-12-05 08:05:40"),
        ("Sat,Sun 08:05:40", "Sat,Sun *-*-* 08:05:40"),
        ("2003-03-05 05:40", "2003-03-05 05:40:00"),
        ("05:40:23.4200004/3.1700005", ""),
        ("05:40:23.420001/3.170001", "*-*-* 05:40:23.420001/3.170001"),
        ("2003-02..04-05", "2003-02..04-05 00:00:00"),
        ("2003-03-05 05:40 UTC", "2003-03-05 05:40:00 UTC"),
        ("2003-03-05", "2003-03-05 00:00:00"),
        ("03-05", "*-03-05 00:00:00"),
        ("hourly", "*-*-* *:00:00"),
        ("daily", "*-*-* 00:00:00"),
        ("daily UTC", "*-*-* 00:00:00 UTC"),
        ("weekly Pacific/Auckland", "Mon *-*-* 00:00:00 Pacific/Auckland"),
        ("monthly", "*-*-01 00:00:00"),
        ("quarterly", "*-01,04,07,10-01 00:00:00"),
        ("yearly", "*-01-01 00:00:00"),
        ("minutely", "*-*-* *:*:00"),
        ("*:2/3", "*-*-* *:02/3:00"),
        ("*:*:*", "*-*-* *:*:*"),
        ("*-*~1 Utc", ""),
        ("*-*~1", "*-*~01 00:00:00"),
        ("*-*~05,3", "*-*~03,05 00:00:00"),
        ("Mon..Fri,Sun", "Mon..Fri,Sun *-*-* 00:00:00"),
        ("2021~02-03", ""),
        ("@1234567890", "2009-02-13 23:31:30 UTC"),
        ("07..23:30", "*-*-* 07..23:30:00"),
        ("*:0/15", "*-*-* *:00/15:00"),
        ("00:00:00.000001", "*-*-* 00:00:00.000001"),
    ] {
        let found = parse(text);
        match normal {
            "" if text == "*-*~1 Utc" => assert_eq!(found.unwrap().to_string(), "*-*~01 00:00:00 UTC"),
            "" => assert!(found.is_err(), "{text}"),
            _ => assert_eq!(found.unwrap().to_string(), normal, "{text}"),
        }
    }
    for bad in [
        "",
        " ",
        "7",
        "121212:1:2",
        "2000-03-05.23 00:00:00",
        "00:00:10..13.17:00",
        "*:*:05.1234567",
        "mon..",
        "Sun..Mon",
        "*-*-32",
        "*-13-*",
        "24:00",
        "12:60",
        "1960-01-01",
        "*:1/0",
        "x",
        "Moon",
        "@x",
        "2000-01~",
        "*:5..3",
        "-1:00",
        "1,:00",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

fn next_in(text: &str, after: &str, zone: &TimeZone) -> String {
    let after = after.parse::<DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp();
    let after = u64::try_from(after.as_microsecond()).unwrap();
    match parse(text).unwrap().next(after, zone) {
        Some(usec) => {
            let moment = Timestamp::from_microsecond(i64::try_from(usec).unwrap()).unwrap();
            moment.to_zoned(zone.clone()).strftime("%a %Y-%m-%dT%H:%M:%S%.f%:z").to_string()
        }
        None => "never".into(),
    }
}

#[test]
fn the_next_time_comes_as_systemd_says() {
    let utc = TimeZone::UTC;
    for (text, after, expected) in [
        ("2016-03-27 03:17:00", "2016-03-27T02:00:00", "Sun 2016-03-27T03:17:00+00:00"),
        ("2016-03-27 03:17:00", "2016-03-27T03:17:00", "never"),
        ("*:*:0", "2012-10-13T23:59:30", "Sun 2012-10-14T00:00:00+00:00"),
        ("Sun *-*-* 01:00:00", "2012-10-15T00:00:00", "Sun 2012-10-21T01:00:00+00:00"),
        ("*-02~01", "2019-01-15T00:00:00", "Thu 2019-02-28T00:00:00+00:00"),
        ("*-02~01", "2020-01-15T00:00:00", "Sat 2020-02-29T00:00:00+00:00"),
        ("Mon *-05~07/1", "2024-01-01T00:00:00", "Mon 2024-05-27T00:00:00+00:00"),
        ("*-02-29", "2021-01-01T00:00:00", "Thu 2024-02-29T00:00:00+00:00"),
        ("*-02-30", "2021-01-01T00:00:00", "never"),
        ("*:*:*/2", "2021-01-01T00:00:00", "bad"),
        ("*:0/15", "2021-01-01T00:46:00", "Fri 2021-01-01T01:00:00+00:00"),
        ("*:20..39/5", "2010-09-10T00:35:01", "Fri 2010-09-10T01:20:00+00:00"),
        ("05:40:23.42", "2021-01-01T05:40:23.42", "Sat 2021-01-02T05:40:23.42+00:00"),
        ("2199-12-31", "2021-01-01T00:00:00", "Tue 2199-12-31T00:00:00+00:00"),
    ] {
        if expected == "bad" {
            assert!(parse(text).is_err());
        } else {
            assert_eq!(next_in(text, after, &utc), expected, "{text} after {after}");
        }
    }
}

#[test]
fn changes_of_the_clock_leave_out_and_repeat() {
    // the European rule, without a time zone database
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let next = |text, after| next_in(text, after, &berlin);
    assert_eq!(next("*-*-* 02:30:00", "2024-03-30T12:00:00"), "Mon 2024-04-01T02:30:00+02:00");
    assert_eq!(next("*:30", "2024-03-31T01:30:00"), "Sun 2024-03-31T03:30:00+02:00");
    let first = berlin.to_ambiguous_timestamp("2024-10-27T02:30:00".parse().unwrap()).earlier().unwrap();
    let half_past = parse("*:30").unwrap();
    let second = half_past.next(u64::try_from(first.as_microsecond()).unwrap(), &berlin).unwrap();
    assert_eq!(second - u64::try_from(first.as_microsecond()).unwrap(), 3_600_000_000);
    assert_eq!(next("daily", "2024-10-27T00:00:00"), "Mon 2024-10-28T00:00:00+01:00");
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "[-*~:.,/ 0-9a-zA-Z@]{0,30}") {
        if let Ok(calendar) = parse(&text) {
            let _ = calendar.next(1_700_000_000_000_000, &TimeZone::UTC);
        }
    }

    #[test]
    fn the_normal_form_means_the_same(
        text in "(Mon|Tue..Fri|Sat,Sun)? ?(\\*|20[0-9]{2}|1[0-2])-(\\*|[1-9]|1..6/2)[-~](\\*|[1-9]|1/7|3,5..8) (\\*|[0-9]|8..17):(\\*|0/7|30):(0|15|\\*)",
    ) {
        if let Ok(calendar) = parse(&text) {
            let again = parse(&calendar.to_string()).unwrap();
            proptest::prop_assert_eq!(&again, &calendar);
            let mut at = 1_600_000_000_000_000;
            for _ in 0..5 {
                let Some(next) = calendar.next(at, &TimeZone::UTC) else { break };
                proptest::prop_assert!(next > at);
                at = next;
            }
        }
    }
}
