/* The certificate of a daemon over TLS: a self-signed one for localhost. */
#ifndef ECHOD_FUZZ_CERTIFICATE_H
#define ECHOD_FUZZ_CERTIFICATE_H

/* Writes it and its key into one file, which only its owner may read. */
void certificate_write(const char *path);

#endif
