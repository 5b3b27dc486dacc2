dnl What phpize and ./configure read. The extension is written in Rust: this checks what the build needs, then leaves it to cargo.

PHP_ARG_ENABLE([toporia_realtime],
  [whether to build toporia_realtime],
  [AS_HELP_STRING([--disable-toporia_realtime], [Do not build toporia_realtime])],
  [yes])

if test "$PHP_TOPORIA_REALTIME" != "no"; then
  case $host_os in
    linux-gnu*) ;;
    *) AC_MSG_ERROR([toporia_realtime runs on Linux with glibc, not on $host_os. Elsewhere the PHP layer works with its fakes, and the application on a log driver.]) ;;
  esac

  dnl rustup puts cargo there; whoever runs sudo often has it not on the path.
  toporia_realtime_path="$PATH$PATH_SEPARATOR${CARGO_HOME:-$HOME/.cargo}/bin"

  AC_PATH_PROG([TOPORIA_REALTIME_CARGO], [cargo], [no], [$toporia_realtime_path])
  if test "$TOPORIA_REALTIME_CARGO" = "no"; then
    AC_MSG_ERROR([cargo is missing. Install Rust 1.85 or newer: https://rustup.rs, or on Debian 13 apt install cargo])
  fi
  AC_MSG_CHECKING([for cargo 1.85 or newer])
  toporia_realtime_cargo=`"$TOPORIA_REALTIME_CARGO" --version | sed 's/^cargo \(@<:@0-9@:>@*\.@<:@0-9@:>@*\).*/\1/'`
  AC_MSG_RESULT([$toporia_realtime_cargo])
  AS_VERSION_COMPARE([$toporia_realtime_cargo], [1.85],
    [AC_MSG_ERROR([cargo $toporia_realtime_cargo is too old, 1.85 is needed: rustup update stable])])

  AC_PATH_PROG([TOPORIA_REALTIME_CLANG], [clang], [no])
  if test "$TOPORIA_REALTIME_CLANG" = "no"; then
    AC_MSG_ERROR([clang is missing, which reads PHP's headers. On Debian: apt install clang libclang-dev])
  fi
  AC_PATH_PROG([TOPORIA_REALTIME_CMAKE], [cmake], [no])
  if test "$TOPORIA_REALTIME_CMAKE" = "no"; then
    AC_MSG_ERROR([cmake is missing, which builds librdkafka. On Debian: apt install cmake g++ make pkg-config])
  fi
  AC_CHECK_HEADER([openssl/ssl.h], [], [AC_MSG_ERROR([OpenSSL's headers are missing. On Debian: apt install libssl-dev])])
  AC_CHECK_HEADER([curl/curl.h], [], [AC_MSG_ERROR([curl's headers are missing, which librdkafka's sources include. On Debian: apt install libcurl4-openssl-dev])])

  dnl In the source package the crate is beside this file, in the repository two folders up.
  TOPORIA_REALTIME_CRATE="$abs_srcdir"
  if test ! -f "$TOPORIA_REALTIME_CRATE/Cargo.toml"; then
    TOPORIA_REALTIME_CRATE=`cd "$srcdir/../.." && pwd`
  fi
  if test ! -f "$TOPORIA_REALTIME_CRATE/Cargo.toml"; then
    AC_MSG_ERROR([Cargo.toml is missing, beside config.m4 and two folders up. Take the source package, or packaging/pie of a clone.])
  fi
  TOPORIA_REALTIME_PHP=`"$PHP_CONFIG" --php-binary`

  PHP_ADD_BUILD_DIR([$ext_builddir/modules])
  PHP_SUBST([TOPORIA_REALTIME_CRATE])
  PHP_SUBST([TOPORIA_REALTIME_PHP])
  PHP_SUBST([PHP_CONFIG])
  PHP_ADD_MAKEFILE_FRAGMENT([$abs_srcdir/Makefile.frag])
  PHP_MODULES="$PHP_MODULES \$(phplibdir)/toporia_realtime.so"
  PHP_SUBST([PHP_MODULES])
fi
