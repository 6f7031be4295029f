// The commands of `wyvern`. Each function adds its subcommand with options and a callback, which
// does the work and sets *exit_code.
#ifndef WYVERN_TRAINER_COMMANDS_COMMANDS_H_
#define WYVERN_TRAINER_COMMANDS_COMMANDS_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// All of the commands below.
void AddAllCommands(CLI::App& app, int* exit_code);

// wyvern train CONFIG [--set key=value ...] [--resume auto|none|PATH]: prepares the data where that
// is not done yet, trains or resumes, evaluates, prints a sample and where the report lies.
void AddTrainCommand(CLI::App& app, int* exit_code);

// wyvern preflight CONFIG, on as many ranks as a training: what every training of several ranks
// checks as it starts, and nothing more.
void AddPreflightCommand(CLI::App& app, int* exit_code);

// wyvern sweep SWEEP.yaml: trains every combination of a sweep's axes, here or as a Slurm array.
// trainer/sweep/README.md explains the file.
void AddSweepCommand(CLI::App& app, int* exit_code);

// wyvern fit SWEEP: fits scaling laws to the runs of a sweep, or to points of a CSV file.
// trainer/scaling/README.md explains the results.
void AddReportCommand(CLI::App& app, int* exit_code);
void AddFitCommand(CLI::App& app, int* exit_code);

// wyvern config show CONFIG: the resolved configuration as YAML, with parameter count, FLOPs and
// memory as comments.
void AddConfigCommand(CLI::App& app, int* exit_code);

// wyvern plan CONFIG --gpus N: memory, communication, speed and duration of a run on GPUs that
// need not be there, and a mesh that fits.
void AddPlanCommand(CLI::App& app, int* exit_code);

// wyvern data tokenizer | prepare | import-tokens | export-tokens | make-task | info
void AddDataCommand(CLI::App& app, int* exit_code);

// wyvern eval CHECKPOINT [--data STORE] [--tasks TASK.yaml ...]: loss, perplexity and loss by
// position; scores of tasks.
void AddEvalCommand(CLI::App& app, int* exit_code);

// wyvern score CHECKPOINT REQUESTS: log-likelihoods and continuations, a line of JSON each.
void AddScoreCommand(CLI::App& app, int* exit_code);

// wyvern generate CHECKPOINT --prompt TEXT
void AddGenerateCommand(CLI::App& app, int* exit_code);

// wyvern checkpoint info | verify
void AddCheckpointCommand(CLI::App& app, int* exit_code);

// wyvern branch RUN[@STEP] NEW: the configuration of a run that continues another one.
void AddBranchCommand(CLI::App& app, int* exit_code);

// wyvern import HF_DIR CHECKPOINT: a Hugging Face folder becomes a checkpoint of fp32 master
// weights.
void AddImportCommand(CLI::App& app, int* exit_code);

// wyvern export CHECKPOINT OUT: a checkpoint becomes a folder that flash-linear-attention or
// transformers load, or a GGUF file that llama.cpp loads.
void AddExportCommand(CLI::App& app, int* exit_code);

// wyvern parity HF_DIR: compares with the folder's reference.safetensors as a table; exit code 1
// when anything is beyond its limit.
void AddParityCommand(CLI::App& app, int* exit_code);

// wyvern selftest: every op's registry row as a table; exit code 1 when anything fails.
void AddSelftestCommand(CLI::App& app, int* exit_code);

// wyvern verify CONFIG: trains a few steps and checks resume, exports, numbers and speed on this
// machine, as a card; exit code 1 when anything fails.
void AddVerifyCommand(CLI::App& app, int* exit_code);

// wyvern bench ops: every op's time, or that of any shape, beside what the bytes it must move and
// the FLOPs it must compute would take at the device's rates; or the paths that its kernels take.
// wyvern bench step CONFIG: whole training steps, and where their time goes.
// wyvern bench decode CONFIG: decoded tokens over the length of the context.
void AddBenchCommand(CLI::App& app, int* exit_code);

// wyvern completion bash|zsh|fish: prints a script by which the shell completes command lines.
void AddCompletionCommand(CLI::App& app, int* exit_code);

// wyvern man: prints the manual page.
void AddManCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMMANDS_H_
