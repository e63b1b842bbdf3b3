# Flags and switches of echod's configure, one macro each.

# ECHOD_APPEND_FLAGS(VARIABLE, FLAGS): appends each flag that the compiler and the linker take.
AC_DEFUN([ECHOD_APPEND_FLAGS], [
  for flag in $2; do
    AC_MSG_CHECKING([whether $CC takes $flag])
    echod_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $flag"
    AC_LINK_IFELSE([AC_LANG_PROGRAM],
      [AC_MSG_RESULT([yes]); $1="$$1 $flag"],
      [AC_MSG_RESULT([no])])
    CFLAGS=$echod_saved_CFLAGS
  done
  AC_SUBST([$1])
])

AC_DEFUN([ECHOD_WARNINGS], [
  AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--enable-werror], [make every warning an error (CI does)])],
    [], [enable_werror=no])
  ECHOD_APPEND_FLAGS([WARNING_CFLAGS], [-Wall -Wextra -Wshadow -Wformat=2 -Wstrict-prototypes dnl
    -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla -Wundef dnl
    -Wimplicit-fallthrough])
  AS_IF([test "x$enable_werror" = xyes], [WARNING_CFLAGS="$WARNING_CFLAGS -Werror"])
])

AC_DEFUN([ECHOD_HARDENING], [
  AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening], [build without the hardening flags])],
    [], [enable_hardening=yes])
  AS_IF([test "x$enable_hardening" = xyes], [
    ECHOD_APPEND_FLAGS([HARDENING_CFLAGS], [-fstack-protector-strong -fstack-clash-protection dnl
      -fcf-protection -fPIE -fno-strict-overflow])
    ECHOD_APPEND_FLAGS([HARDENING_LDFLAGS], [-pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack])
    # The sanitizers and an unoptimised build do without it; a distribution may have set its own.
    AS_CASE([" $CFLAGS $CPPFLAGS "],
      [*FORTIFY_SOURCE*|*" -O0 "*], [],
      [AS_IF([test "x$enable_sanitizers" = xno],
        [HARDENING_CFLAGS="$HARDENING_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])])
  ])
  AC_SUBST([HARDENING_CFLAGS])
  AC_SUBST([HARDENING_LDFLAGS])
])

AC_DEFUN([ECHOD_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers@<:@=thread@:>@],
      [build with AddressSanitizer and UBSan, or with ThreadSanitizer])],
    [], [enable_sanitizers=no])
  AS_CASE(["$enable_sanitizers"],
    [yes], [SANITIZER_CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"],
    [thread], [SANITIZER_CFLAGS="-fsanitize=thread -fno-omit-frame-pointer"],
    [no], [],
    [AC_MSG_ERROR([--enable-sanitizers takes yes, no or thread, not $enable_sanitizers])])
  AC_ARG_ENABLE([fuzzing],
    [AS_HELP_STRING([--enable-fuzzing], [build the fuzzers for libFuzzer (needs CC=clang)])],
    [], [enable_fuzzing=no])
  AS_IF([test "x$enable_fuzzing" = xyes], [
    SANITIZER_CFLAGS="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -fno-omit-frame-pointer"
    FUZZER_LIBS=-fsanitize=fuzzer
  ])
  AC_SUBST([SANITIZER_CFLAGS])
  AC_SUBST([FUZZER_LIBS])
  AM_CONDITIONAL([THREAD_SANITIZER], [test "x$enable_sanitizers" = xthread])
  AM_CONDITIONAL([FUZZING], [test "x$enable_fuzzing" = xyes])
])

# ECHOD_OPTIONAL_MODULE(SWITCH, PREFIX, MODULES, HELP): --with-SWITCH is yes, no or (default) auto.
AC_DEFUN([ECHOD_OPTIONAL_MODULE], [
  AC_ARG_WITH([$1],
    [AS_HELP_STRING([--with-$1], [$4 (default: when $3 is there)])],
    [], [with_$1=auto])
  have_$1=no
  AS_IF([test "x$with_$1" != xno], [
    PKG_CHECK_MODULES([$2], [$3],
      [have_$1=yes
       AC_DEFINE([HAVE_$2], [1], [Define to 1 if $3 is there.])],
      [AS_IF([test "x$with_$1" = xyes], [AC_MSG_ERROR([--with-$1 was given, but $3 is not there])])])
  ])
])
