<?php

/** Authorization of private and presence channels. Names are written without "private-" and "presence-". */

use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('App.Models.User.{id}', function ($user, $id) {
    return (int) $user->id === (int) $id;
});
