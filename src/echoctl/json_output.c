/* Lines of JSON on standard output. */
#include "echoctl/json_output.h"

#include <stdio.h>
#include <stdlib.h>

#include "echoctl/echoctl.h"

json_t *json_with_bytes(json_t *object, const char *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	json_t *text = json_stringn(bytes, length); /* NULL where it is not UTF-8 */
	const char *key = text != NULL ? "text" : "hex";
	char *hex = text != NULL ? NULL : malloc(2 * length + 1);
	bool failed;

	if (hex != NULL) {
		for (size_t i = 0; i < length; i++) {
			hex[2 * i] = digits[(unsigned char)bytes[i] >> 4];
			hex[2 * i + 1] = digits[(unsigned char)bytes[i] & 15];
		}
		text = json_stringn_nocheck(hex, 2 * length);
		free(hex);
	}
	failed = json_object_set_new(object, "bytes", json_integer((json_int_t)length)) == -1;
	failed |= json_object_set_new(object, key, text) == -1;
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

int json_print(json_t *object)
{
	int result = -1;

	if (object != NULL)
		result = json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	if (result == 0)
		putchar('\n');
	json_decref(object);
	if (result == 0 || ferror(stdout))
		return 0;
	complain("out of memory");
	return -1;
}
