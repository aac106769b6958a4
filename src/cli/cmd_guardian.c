#include "command.h"
#include "output.h"

#include "nbdpull/app.h"
#include "nbdpull/detached.h"

/* nbdpull guardian DOMAIN [SET]: what np_guardian_start makes. The words are there for who looks at ps. */
static int run(struct np_context *context, int argc, char **argv, struct np_error *err)
{
    (void)context;
    np_output_log(false, false);
    if (argc < 2 || argc > 3)
        return np_fail(err, NP_USAGE, "nbdpull starts its guardian itself, it is not for users");
    return np_app_guardian(argc == 3 ? argv[2] : NULL, NP_DETACHED_FD, NP_DETACHED_FD + 1, err);
}

const struct np_command np_cmd_guardian = {.name = "guardian", .run = run};
