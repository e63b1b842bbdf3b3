/* The address of the kv service that a command uses. */
#ifndef ECHOD_ECHOCTL_KV_ADDRESS_H
#define ECHOD_ECHOCTL_KV_ADDRESS_H

struct options;

/*
 * The address of -a, else of $ECHOD_KV, else of the first kv service that the daemon names: one for RESP, if there is
 * one. *address is for the caller to free. STATUS_OK, or another status after a complaint.
 */
int kv_address_find(const struct options *options, char **address);

#endif
