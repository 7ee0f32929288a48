/* A plugin of qemu-user (API 1): how many instructions a program executes. No header is needed.
   cc -O2 -shared -fPIC -o insns.so insns.c; qemu-aarch64 -plugin ./insns.so PROGRAM ..
   The number is written to stderr at exit: "instructions 123". */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_id;
struct block;
struct info;
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_id, void (*)(qemu_id, struct block *));
extern size_t qemu_plugin_tb_n_insns(const struct block *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_atexit_cb(qemu_id, void (*)(qemu_id, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t count;

static void executed(unsigned cpu, void *instructions) {
    (void)cpu;
    __atomic_fetch_add(&count, (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(qemu_id id, struct block *block) {
    (void)id;
    uintptr_t instructions = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, (void *)instructions);
}

static void ended(qemu_id id, void *nothing) {
    (void)id;
    (void)nothing;
    fprintf(stderr, "instructions %llu\n", (unsigned long long)count);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_id id, const struct info *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
