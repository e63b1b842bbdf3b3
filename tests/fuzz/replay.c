/*
 * In the fuzzer's place: hands each file of a corpus to the harness. Files and directories are arguments;
 * without any it is $FUZZ_CORPUS/NAME of the program's own name. One test in TAP.
 */
#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static int replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *bytes;
	size_t size;

	if (file == NULL || fstat(fileno(file), &st) == -1)
		return -1;
	/* Of the very size: the sanitizer sees a read past the end. */
	bytes = malloc((size_t)st.st_size);
	size = bytes == NULL ? 0 : fread(bytes, 1, (size_t)st.st_size, file);
	fclose(file);
	printf("# %s\n", path); /* which one it was, when this is the last line */
	fflush(stdout);
	LLVMFuzzerTestOneInput(bytes, size);
	free(bytes);
	return 1;
}

/* How many inputs the file or directory had, or -1. */
static int replay(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (directory == NULL)
		return replay_file(path);
	while ((entry = readdir(directory)) != NULL) {
		char file[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (replay_file(file) == -1)
			count = -1;
		if (count == -1)
			break;
		count++;
	}
	closedir(directory);
	return count;
}

static int replay_own_corpus(const char *name)
{
	const char *corpus = getenv("FUZZ_CORPUS");
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", corpus == NULL ? "." : corpus, name);
	return replay(path);
}

int main(int argc, char **argv)
{
	const char *name = basename(argv[0]);
	int total = 0, count;

	for (int i = 1; i < argc || (i == 1 && argc == 1); i++) {
		count = argc == 1 ? replay_own_corpus(name) : replay(argv[i]);
		if (count == -1)
			perror(argc == 1 ? name : argv[i]);
		if (count <= 0) {
			total = 0;
			break;
		}
		total += count;
	}
	printf("1..1\n%s 1 - fuzz/%s: %d inputs\n", total > 0 ? "ok" : "not ok", name, total);
	return total > 0 ? 0 : 1;
}
