//! The trial of the codec; see `crate::fuzz`.

use crate::journal::PAYLOAD_BYTES_MAX;
use crate::model::Position;

use super::codec::{
    check_known, decode_job, decode_record, decode_row, encode_job, encode_record, encode_row,
};

/// What decodes is of a known kind, and encodes to something that decodes to the same. No bytes ask for more memory
/// than a record can have.
pub(crate) fn record(bytes: &[u8]) {
    if let Ok(record) = decode_record(bytes) {
        assert!(check_known(bytes).is_ok(), "it was just read");
        let mut again = Vec::new();
        encode_record(&record, &mut again).expect("what was read can be written");
        assert!(check_known(&again).is_ok());
        assert_eq!(decode_record(&again).ok().as_ref(), Some(&record));
        let (position, moment) = (Position::from_u64(7), record.moment());
        // Each key is of something that the record holds, so there are no more of them than it has bytes for.
        assert!(record.keys(position).len() <= 2 + 3 * bytes.len().min(PAYLOAD_BYTES_MAX));
        assert_eq!(record.moment(), moment);
    }
    if let Ok(row) = decode_row(bytes) {
        let again = encode_row(&row).expect("what was read can be written");
        assert_eq!(decode_row(&again).ok().as_ref(), Some(&row));
    }
    if let Ok(job) = decode_job(bytes) {
        let again = encode_job(&job).expect("what was read can be written");
        assert_eq!(decode_job(&again).ok().as_ref(), Some(&job));
    }
}
