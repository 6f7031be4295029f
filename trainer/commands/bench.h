#ifndef WYVERN_TRAINER_COMMANDS_BENCH_H_
#define WYVERN_TRAINER_COMMANDS_BENCH_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern bench ops [--device auto|cpu|cuda] [--op NAME [--shape key=value,...]] [--explain]
// [--json]: every op's time, beside what the bytes it must move and the FLOPs it must compute would
// take at the device's rates; or the paths that its kernels take.
//
// wyvern bench step CONFIG [--set key=value ...] [--sequences N] [--seq-len N] [--micro-batches N]
// [--steps N] [--warmup N] [--json]: whole training steps, and where their time goes.
void AddBenchCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_BENCH_H_
