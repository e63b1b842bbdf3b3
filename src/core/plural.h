/* The end of a plural: "%zu client%s" with PLURAL(n, "s") is "1 client" or "2 clients". */
#ifndef ECHOD_CORE_PLURAL_H
#define ECHOD_CORE_PLURAL_H

#define PLURAL(count, end) ((count) == 1 ? "" : (end))

#endif
