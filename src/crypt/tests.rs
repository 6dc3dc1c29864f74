//! Published test vectors, and key stores that VirtualBox 7.2.22 wrote.

use super::keystore::{Kdf, MAX_ITERATIONS};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

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

/// The published vectors with whole sectors, alone and as the last of many.
#[test]
fn xts_does_as_ieee_1619_says() {
    let mut last = Vec::new();
    let mut compared = 0;
    for line in include_str!("ieee1619.txt").lines().filter(|line| !line.starts_with('#')) {
        let [vector, key, sector, plain, encrypted] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let sector = u64::from_str_radix(sector, 16).unwrap();
        let plain = match plain {
            "counting" => (0..512).map(|i| u8::try_from(i % 256).unwrap()).collect(),
            "last" => last,
            other => hex(other),
        };
        let encrypted = hex(encrypted);
        let cipher = SectorCipher::new(&hex(key)).unwrap();
        for before in 0..=sector.min(20) {
            let start = usize::try_from(before).unwrap() * 512;
            let mut bytes = vec![7; start];
            bytes.extend(&plain);
            cipher.encrypt(&mut bytes, sector - before);
            assert_eq!(bytes[start..], encrypted, "vector {vector}");
            cipher.decrypt(&mut bytes, sector - before);
            assert_eq!(bytes[start..], plain, "vector {vector}");
            assert!(bytes[..start].iter().all(|byte| *byte == 7));
        }
        last = encrypted;
        compared += 1;
    }
    assert_eq!(compared, 12);
    assert!(SectorCipher::new(&[0; 48]).is_none());
}

/// Vector 1 of IEEE 1619-2007, whose data unit has the size of a wrapped key and number 0, as all wrapped keys have.
#[test]
fn keys_are_unwrapped_as_ieee_1619_says() {
    let mut key = hex("917cf69ebd68b2ec9b9fe9a3eadda692cd43d2f59598ed858c02c2652fbf922e");
    sectors::unwrap_key(&[0; 32], &mut key);
    assert_eq!(key, [0; 32]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Another implementation, which does one block after another.
    #[test]
    fn many_sectors_are_as_the_xts_mode_crate_has_them(
        key in prop::collection::vec(any::<u8>(), 64),
        first in 0..u64::MAX / 512,
        plain in (0..40_usize).prop_flat_map(|sectors| prop::collection::vec(any::<u8>(), sectors * 512)),
    ) {
        use xts_mode::{Xts128, get_tweak_default};
        fn aes<C: aes::cipher::KeyInit>(key: &[u8]) -> C {
            C::new_from_slice(key).unwrap()
        }
        let theirs_128 = Xts128::<aes::Aes128>::new(aes(&key[..16]), aes(&key[16..32]));
        let theirs_256 = Xts128::<aes::Aes256>::new(aes(&key[..32]), aes(&key[32..]));
        for bits in [128, 256] {
            let ours = SectorCipher::new(&key[..bits / 4]).unwrap();
            let (mut a, mut b) = (plain.clone(), plain.clone());
            ours.encrypt(&mut a, first);
            match bits {
                128 => theirs_128.encrypt_area(&mut b, 512, first.into(), get_tweak_default),
                _ => theirs_256.encrypt_area(&mut b, 512, first.into(), get_tweak_default),
            }
            prop_assert_eq!(&a, &b);
            ours.decrypt(&mut a, first);
            prop_assert_eq!(&a, &plain);
        }
    }
}

/// RFC 6070 (SHA-1), RFC 7914 section 11 (SHA-256), and for SHA-512 the vectors in RFC 6070's manner that Python's and
/// others' tests have.
#[test]
fn pbkdf2_does_as_published() {
    let long = ("passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt");
    let cases = [
        (Kdf::Sha1, "password", "salt", 1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
        (Kdf::Sha1, "password", "salt", 2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
        (Kdf::Sha1, "password", "salt", 4096, "4b007901b765489abead49d926f721d065a429c1"),
        (Kdf::Sha1, long.0, long.1, 4096, "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"),
        (Kdf::Sha1, "pass\0word", "sa\0lt", 4096, "56fa6aa75548099dcc37d7f03425e0c3"),
        (
            Kdf::Sha256,
            "passwd",
            "salt",
            1,
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
        ),
        (
            Kdf::Sha256,
            "Password",
            "NaCl",
            80_000,
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
             a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d",
        ),
        (
            Kdf::Sha512,
            "password",
            "salt",
            1,
            "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252\
             c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce",
        ),
        (
            Kdf::Sha512,
            long.0,
            long.1,
            4096,
            "8c0511f4c6e597c6ac6315d8f0362e225f3c501495ba23b868c005174dc4ee71\
             115b59f9e60cd9532fa33e0f75aefe30225c583a186cd82bd4daea9724a3d3b8",
        ),
    ];
    for (kdf, password, salt, iterations, expected) in cases {
        let expected = hex(expected);
        let key = kdf.derive(password.as_bytes(), salt.as_bytes(), iterations, expected.len());
        assert_eq!(*key, expected, "{kdf:?} {password:?} {iterations}");
    }
}

/// Of NIST's gcmDecrypt128.rsp and gcmDecrypt256.rsp, some with 16 bytes of additional data, the size of a UUID: key,
/// IV, ciphertext, additional data, tag, plaintext (none where it must fail).
#[test]
fn gcm_does_as_nist_says() {
    let cases = [
        (
            "816e39070410cf2184904da03ea5075a",
            "32c367a3362613b27fc3e67e",
            "552ebe012e7bcf90fcef712f8344e8f1",
            "f2a30728ed874ee02983c294435d3c16",
            "ecaae9fc68276a45ab0ca3cb9dd9539f",
            Some("ecafe96c67a1646744f1c891f5e69427"),
        ),
        (
            "867fc5d5476d5008f0703d81e3622255",
            "22945529dff947c3c9264df7",
            "1c785025e5a2678e4b29b29276e395bb",
            "261a9efd4f32bc3d07c115b4edcf8adf",
            "87fdf1261846164a950c37a3f2eea17d",
            None,
        ),
        (
            "2e54b0d8748141aa2348f47d548236ae1ce3d4cf33be8ec7c00a10999cd9a64b",
            "179d7a48bd6e32c099cb27b6",
            "32bd95c1e836ae5d388d758bdc",
            "12fe663798231f384fe4ac1db3fc3f89",
            "9b7c419faad417b90261f78f82bc73f1",
            Some("be6e65c851f5ca9b71a607255d"),
        ),
        (
            "22ab50af434ac76377118aaa014c008d25e766b23e2d0488c1b2a3b720a9e89e",
            "123f018807b3f5368c38b1dd",
            "b05cca6533e1f81c9751b42cd32158ac37841afae09eafde4cf51458ed6d234f",
            "1c56bf07fdbddc8eebcd0712ab2c16ad",
            "f082c6743dca40f7b98ed44de872d46c",
            None,
        ),
    ];
    for (key, iv, encrypted, about, tag, plain) in cases {
        let text = STANDARD.encode(hex(&format!("{iv}{tag}{encrypted}")));
        let uuid = uuid::Uuid::from_slice_le(&hex(about)).unwrap();
        let answer = decrypt_machine(&text, &hex(key), uuid, "vault").map(|plain| plain.to_vec());
        let reason = "the authentication tag does not fit the text and the machine's UUID".into();
        assert_eq!(answer, plain.map(hex).ok_or(Error::Tampered { what: "vault".into(), reason }));
    }
}

#[test]
fn the_password_opens_what_virtualbox_wrote_and_no_other_does() {
    for (text, size) in [(XTS256, 64), (XTS128, 32)] {
        let store = KeyStore::parse(text, Cipher::Xts, "sealed").unwrap();
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
    let cases: [(usize, &[u8], &str); 11] = [
        (0, b"XXXX", "corrupt: magic number at byte 0: expected 0x454e4353, found 0x58585858"),
        (4, &[0, 3], "cannot be used: version at byte 4: expected 0x0100 or 0x0200, found 0x0300"),
        (6, b"DES", "cannot be used: cipher at byte 6: expected AES-XTS128-PLAIN64,"),
        (
            6,
            b"AES-GCM256\0\0\0\0\0\0\0\0",
            "corrupt: cipher at byte 6: expected one for disks (AES-XTS), found \"AES-GCM256\"",
        ),
        (38, b"X", "cannot be used: key derivation at byte 38: expected PBKDF2-SHA1,"),
        (70, &[48], "corrupt: key size at byte 70: expected 64, found 48"),
        (106, &[33], "corrupt: digest size at byte 106: expected 20 or 32, found 33"),
        (142, &[0, 0, 0, 0], "cannot be used: iterations at byte 142: expected 1 to 100000000, found 0"),
        (178, &too_many, "cannot be used: iterations at byte 178: expected 1 to 100000000, found 100000001"),
        (182, &[0xFF; 4], "corrupt: size of the wrapped key at byte 182: expected 64, found 4294967295"),
        (182, &[32], "corrupt: size of the wrapped key at byte 182: expected 64, found 32"),
    ];
    for (at, new, message) in cases {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let error = KeyStore::parse(&STANDARD.encode(bytes), Cipher::Xts, "sealed").unwrap_err().to_string();
        assert!(error.starts_with("The key store of sealed "), "{error}");
        assert!(error.contains(message), "{error}\nis not\n{message}");
    }
}

#[test]
fn a_text_that_is_no_key_store_is_refused() {
    for text in ["", "!!!!", "U0NO", &"A".repeat(10_000)] {
        assert!(matches!(KeyStore::parse(text, Cipher::Xts, "sealed"), Err(Error::KeyStore { .. })), "{text}");
    }
    let mut cut = STANDARD.decode(XTS256.split_whitespace().collect::<String>()).unwrap();
    cut.pop();
    let error = KeyStore::parse(&STANDARD.encode(cut), Cipher::Xts, "sealed").unwrap_err().to_string();
    assert!(error.contains("size at byte 0: expected 250 bytes, found 249 bytes"), "{error}");
}

#[test]
fn settings_that_were_changed_or_cut_are_refused() {
    let uuid = uuid::Uuid::from_u128(1);
    for (text, reason) in [
        ("", "expected at least 28 bytes in MachineEncrypted, found 0"),
        ("AAAA", "expected at least 28 bytes in MachineEncrypted, found 3"),
        (&STANDARD.encode([0; 64]), "the authentication tag does not fit"),
        ("not base64!", "expected base64 in MachineEncrypted, found '!' as character 9"),
    ] {
        let error = decrypt_machine(text, &[0; 32], uuid, "vault").unwrap_err().to_string();
        assert!(
            error.starts_with("The encrypted settings of vault are corrupt: ") && error.contains(reason),
            "{error}"
        );
    }
}
