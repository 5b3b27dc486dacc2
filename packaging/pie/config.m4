dnl Read by phpize and ./configure. The extension is written in Rust: this file checks the build dependencies, then calls cargo.

PHP_ARG_ENABLE([toporia_realtime],
  [whether to build toporia_realtime],
  [AS_HELP_STRING([--disable-toporia_realtime], [Do not build toporia_realtime])],
  [yes])

if test "$PHP_TOPORIA_REALTIME" != "no"; then
  TOPORIA_REALTIME_RUSTFLAGS="$RUSTFLAGS"
  case $host_os in
    linux-gnu*) ;;
    dnl A library that PHP loads uses the C library of PHP's process.
    linux-musl*) TOPORIA_REALTIME_RUSTFLAGS="$RUSTFLAGS -C target-feature=-crt-static" ;;
    *) AC_MSG_ERROR([toporia_realtime runs on Linux, not on $host_os. On other systems use the PHP layer with its fakes, and a log driver in the application.]) ;;
  esac

  dnl The directory where rustup installs cargo; under sudo it is often not in PATH.
  toporia_realtime_path="$PATH$PATH_SEPARATOR${CARGO_HOME:-$HOME/.cargo}/bin"

  AC_PATH_PROG([TOPORIA_REALTIME_CARGO], [cargo], [no], [$toporia_realtime_path])
  if test "$TOPORIA_REALTIME_CARGO" = "no"; then
    AC_MSG_ERROR([cargo is missing. Install Rust 1.85 or newer: https://rustup.rs, on Debian 13 apt install cargo, on Alpine apk add cargo])
  fi
  AC_MSG_CHECKING([for cargo 1.85 or newer])
  toporia_realtime_cargo=`"$TOPORIA_REALTIME_CARGO" --version | sed 's/^cargo \(@<:@0-9@:>@*\.@<:@0-9@:>@*\).*/\1/'`
  AC_MSG_RESULT([$toporia_realtime_cargo])
  AS_VERSION_COMPARE([$toporia_realtime_cargo], [1.85],
    [AC_MSG_ERROR([cargo $toporia_realtime_cargo is too old; 1.85 or newer is required. Run: rustup update stable])])

  AC_PATH_PROG([TOPORIA_REALTIME_CLANG], [clang], [no])
  if test "$TOPORIA_REALTIME_CLANG" = "no"; then
    AC_MSG_ERROR([clang is missing; it is needed to read PHP's headers. On Debian: apt install clang libclang-dev, on Alpine: apk add clang-dev clang-libclang])
  fi
  AC_PATH_PROG([TOPORIA_REALTIME_CMAKE], [cmake], [no])
  if test "$TOPORIA_REALTIME_CMAKE" = "no"; then
    AC_MSG_ERROR([cmake is missing; it is needed to build librdkafka. On Debian: apt install cmake g++ make pkg-config, on Alpine: apk add build-base cmake linux-headers pkgconf])
  fi
  AC_CHECK_HEADER([openssl/ssl.h], [], [AC_MSG_ERROR([OpenSSL's headers are missing. On Debian: apt install libssl-dev, on Alpine: apk add openssl-dev])])
  AC_CHECK_HEADER([curl/curl.h], [], [AC_MSG_ERROR([curl's headers are missing; librdkafka's sources include them. On Debian: apt install libcurl4-openssl-dev, on Alpine: apk add curl-dev])])
  case $host_os in
    linux-gnu*) AC_CHECK_HEADER([zstd.h], [], [AC_MSG_ERROR([zstd's headers are missing. On Debian: apt install libzstd-dev])]) ;;
  esac

  dnl In the source package the crate is in the directory of this file, in the repository two directories above it.
  TOPORIA_REALTIME_CRATE="$abs_srcdir"
  if test ! -f "$TOPORIA_REALTIME_CRATE/Cargo.toml"; then
    TOPORIA_REALTIME_CRATE=`cd "$srcdir/../.." && pwd`
  fi
  if test ! -f "$TOPORIA_REALTIME_CRATE/Cargo.toml"; then
    AC_MSG_ERROR([Cargo.toml is neither in the directory of config.m4 nor two directories above it. Use the source package, or packaging/pie of a clone.])
  fi
  TOPORIA_REALTIME_PHP=`"$PHP_CONFIG" --php-binary`

  PHP_ADD_BUILD_DIR([$ext_builddir/modules])
  PHP_SUBST([TOPORIA_REALTIME_CRATE])
  PHP_SUBST([TOPORIA_REALTIME_PHP])
  PHP_SUBST([PHP_CONFIG])
  PHP_SUBST([TOPORIA_REALTIME_RUSTFLAGS])
  PHP_ADD_MAKEFILE_FRAGMENT([$abs_srcdir/Makefile.frag])
  PHP_MODULES="$PHP_MODULES \$(phplibdir)/toporia_realtime.so"
  PHP_SUBST([PHP_MODULES])
fi
