//! Recognises exceptions of a database that cannot be reached: the message is not the reason, and waiting helps.

use ext_php_rs::types::Zval;

use super::{retry, zend};

/// Exceptions to look at in a chain: applications and ORMs wrap those of the driver.
const MAX_CHAIN: usize = 8;

/// Connection refused or lost, too many connections, server shutting down.
const MYSQL_CODES: [i64; 6] = [1040, 1053, 2002, 2003, 2006, 2013];
/// Of PostgreSQL: shut down by the administrator, crashed, starting up, too many connections.
const SQL_STATES: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];
/// The class of connection exceptions in the SQL standard.
const CONNECTION_CLASS: &str = "08";
/// The code of `pdo_pgsql` for errors without an SQLSTATE of the server.
const PGSQL_FATAL_ERROR: i64 = 7;

/// True if the exception, or a previous one, is of a database that cannot be reached.
pub fn is_unreachable(why: &Zval) -> bool {
    let mut next = Some(why.shallow_clone());
    for _ in 0..MAX_CHAIN {
        let Some(object) = next else {
            return false;
        };
        if has_lost_connection(&object) {
            return true;
        }
        next = zend::previous_of(&object);
    }
    false
}

fn has_lost_connection(why: &Zval) -> bool {
    let Some(object) = why.object() else {
        return false;
    };
    let class = object.get_class_entry();
    if retry::is_a(class, "mysqli_sql_exception") {
        return MYSQL_CODES.contains(&zend::code_of(why));
    }
    if !retry::is_a(class, "PDOException") {
        return false;
    }
    let info = zend::read(class, why, "errorInfo");
    let info = info.as_ref().map(Zval::dereference).and_then(Zval::array);
    let text = |index| {
        let value = info.and_then(|info| info.get_index(index));
        value.and_then(Zval::string).unwrap_or_default()
    };
    let code = info
        .and_then(|info| info.get_index(1)?.long())
        .unwrap_or_default();
    match text(0).as_str() {
        "HY000" if code == PGSQL_FATAL_ERROR => text(2).contains("connection"),
        "HY000" => MYSQL_CODES.contains(&code),
        state => state.starts_with(CONNECTION_CLASS) || SQL_STATES.contains(&state),
    }
}
