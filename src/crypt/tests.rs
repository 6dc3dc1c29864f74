//! Published test vectors, and key stores that VirtualBox 7.2.22 wrote.

use super::keystore::MAX_ITERATIONS;
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `CRYPT/KeyStore` of a disk that VirtualBox encrypted; its password is [`PASSWORD`].
const XTS256: &str = "U0NORQABQUVTLVhUUzI1Ni1QTEFJTjY0AAAAAAAAAAAAAAAAAABQQktERjItU0hB\n\
    MjU2AAAAAAAAAAAAAAAAAAAAAAAAAEAAAAD4v9fW5Si7gCgFgAK4NvTHHf1ppyW4\n\
    r2Vw8jWXmfZmHCAAAAC66qbCMBFQ1RfU04EBzi8cmFD0SW6UgHIktbKdB7lOuSBO\n\
    AAB4QRsJ3XcA1aXciMCl/47u0elQXuXCwstl39By1qIwA8CYCwBAAAAAzm1v0br5\n\
    9ISqCxJcbTyRb1O4SXx3AqL5iqroJNGMfucDVzYCUJRKf3t0uwINaSeSkGKA5ecV\n\
    S/u6r5d92eOFpw==";
const XTS128: &str = "U0NORQABQUVTLVhUUzEyOC1QTEFJTjY0AAAAAAAAAAAAAAAAAABQQktERjItU0hB\n\
    MjU2AAAAAAAAAAAAAAAAAAAAAAAAACAAAAC31XsjaQn6Mmee0oWx0KXTXuKgel4v\n\
    WbxtS1mBw69H5iAAAADHXe9Wjza19qcrRq29bCJizSQMd4EwAzN2I+EA6mr8xCBO\n\
    AAAKMDA1Dv/ENQ7yB5v7NMCgevim0o2apkyCFSX3FZrF1qCdEgAgAAAACm1rsISd\n\
    hU9DZge5K6Jd3N65FJogyVEdKRe/yAYCplMAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
    AAAAAAAAAAAAAA==";
const PASSWORD: &[u8] = b"correct horse";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// IEEE 1619-2007, vectors 4 (AES-128, sector 0) and 10 (AES-256, sector 0xff), whose data units have 512 bytes.
#[test]
fn xts_does_as_ieee_1619_says() {
    let counting: Vec<u8> = (0..512).map(|i| u8::try_from(i % 256).unwrap()).collect();
    let cases = [
        (
            "2718281828459045235360287471352631415926535897932384626433832795",
            0,
            "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c",
        ),
        (
            "2718281828459045235360287471352662497757247093699959574966967627\
             3141592653589793238462643383279502884197169399375105820974944592",
            0xff,
            "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
        ),
    ];
    for (key, sector, start) in cases {
        let cipher = SectorCipher::new(&hex(key)).unwrap();
        let mut bytes = counting.clone();
        cipher.encrypt(&mut bytes, sector);
        assert_eq!(bytes[..32], hex(start));
        cipher.decrypt(&mut bytes, sector);
        assert_eq!(bytes, counting);
    }
    assert!(SectorCipher::new(&[0; 48]).is_none());
}

#[test]
fn the_password_opens_what_virtualbox_wrote_and_no_other_does() {
    for (text, size) in [(XTS256, 64), (XTS128, 32)] {
        let store = KeyStore::parse(text, "sealed").unwrap();
        assert_eq!(store.unlock(PASSWORD, "id").unwrap().len(), size);
        assert_eq!(
            store.unlock(b"correct horse\n", "id").unwrap_err(),
            Error::WrongPassword { what: "sealed".into(), key_id: "id".into() }
        );
    }
}

/// One field of a good store broken at a time.
#[test]
fn each_broken_field_has_its_own_message() {
    let good = STANDARD.decode(XTS256.split_whitespace().collect::<String>()).unwrap();
    let too_many = (MAX_ITERATIONS + 1).to_le_bytes();
    let cases: [(usize, &[u8], &str); 10] = [
        (0, b"XXXX", "damaged: magic number at byte 0: expected 0x454e4353, found 0x58585858"),
        (4, &[0, 3], "cannot be used: version at byte 4: expected 0x0100 or 0x0200, found 0x0300"),
        (6, b"DES", "cannot be used: cipher at byte 6: expected AES-XTS128-PLAIN64,"),
        (38, b"X", "cannot be used: key derivation at byte 38: expected PBKDF2-SHA1,"),
        (70, &[48], "damaged: key size at byte 70: expected one of [64, 64], found 48"),
        (106, &[33], "damaged: digest size at byte 106: expected one of [20, 32], found 33"),
        (142, &[0, 0, 0, 0], "cannot be used: iterations at byte 142: expected 1 to 100000000, found 0"),
        (178, &too_many, "cannot be used: iterations at byte 178: expected 1 to 100000000, found 100000001"),
        (182, &[0xFF; 4], "damaged: size of the wrapped key at byte 182: expected one of [64], found 4294967295"),
        (182, &[32], "damaged: size of the wrapped key at byte 182: expected one of [64], found 32"),
    ];
    for (at, new, message) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let error = KeyStore::parse(&STANDARD.encode(bytes), "sealed").unwrap_err().to_string();
        assert!(error.starts_with("The key store of sealed "), "{error}");
        assert!(error.contains(message), "{error}\nis not\n{message}");
    }
}

#[test]
fn a_text_that_is_no_key_store_is_refused() {
    for text in ["", "!!!!", "U0NO", &"A".repeat(10_000)] {
        assert!(matches!(KeyStore::parse(text, "sealed"), Err(Error::KeyStore { .. })), "{text}");
    }
    let mut cut = STANDARD.decode(XTS256.split_whitespace().collect::<String>()).unwrap();
    cut.pop();
    let error = KeyStore::parse(&STANDARD.encode(cut), "sealed").unwrap_err().to_string();
    assert!(error.contains("size at byte 0: expected 250 bytes, found 249 bytes"), "{error}");
}

#[test]
fn settings_that_were_changed_or_cut_are_refused() {
    let uuid = uuid::Uuid::from_u128(1);
    for text in ["", "AAAA", &STANDARD.encode([0; 64]), "not base64!"] {
        let error = decrypt_machine(text, &[0; 32], uuid, "vault").unwrap_err();
        assert_eq!(error, Error::Tampered { what: "vault".into() });
    }
}
