use super::Checked;
pub(crate) fn workflows() -> Checked {
    Ok(())
}
pub(crate) fn scripts() -> Checked {
    Ok(())
}
pub(crate) fn rehearsal() -> Checked {
    Ok(())
}
pub(crate) fn dependencies() -> Checked {
    Ok(())
}
