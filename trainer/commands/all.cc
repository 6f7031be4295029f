#include "trainer/commands/all.h"

#include "trainer/commands/bench.h"
#include "trainer/commands/checkpoint.h"
#include "trainer/commands/config.h"
#include "trainer/commands/data.h"
#include "trainer/commands/eval.h"
#include "trainer/commands/export.h"
#include "trainer/commands/fit.h"
#include "trainer/commands/generate.h"
#include "trainer/commands/import.h"
#include "trainer/commands/parity.h"
#include "trainer/commands/plan.h"
#include "trainer/commands/preflight.h"
#include "trainer/commands/selftest.h"
#include "trainer/commands/sweep.h"
#include "trainer/commands/train.h"

namespace wyvern {

void AddAllCommands(CLI::App& app, int* exit_code) {
  AddTrainCommand(app, exit_code);
  AddPreflightCommand(app, exit_code);
  AddSweepCommand(app, exit_code);
  AddFitCommand(app, exit_code);
  AddConfigCommand(app, exit_code);
  AddPlanCommand(app, exit_code);
  AddDataCommand(app, exit_code);
  AddEvalCommand(app, exit_code);
  AddGenerateCommand(app, exit_code);
  AddCheckpointCommand(app, exit_code);
  AddImportCommand(app, exit_code);
  AddExportCommand(app, exit_code);
  AddParityCommand(app, exit_code);
  AddSelftestCommand(app, exit_code);
  AddBenchCommand(app, exit_code);
}

}  // namespace wyvern
